import Glibc

/// Compares background processes and their sockets with what the state says of them.
struct ProcessInspection {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  private var state: State { workspace.state }

  func differences() -> [Difference] {
    state.holders.flatMap(differences) + unknown.map { .processUnknown(id: $0) }
  }

  private func differences(of record: HolderRecord) -> [Difference] {
    let wanted = state.holdings(of: record.id)
    guard record.process.isAlive else { return [.processDead(record, wanted)] + wanted.flatMap(taken) }
    guard let client = try? HolderClient.connect(to: record.id, in: workspace.folder.descriptor),
      let held = try? client.describe()
    else { return [.processSilent(record, wanted)] }
    let ids = Set(held.map(\.id))
    let known = Set(wanted.map(\.id))
    let excess = held.filter { !known.contains($0.id) }
    return wanted.filter { !ids.contains($0.id) }.map { .notHeld($0, by: record) }
      + (excess.isEmpty ? [] : [.heldInExcess(excess, by: record)])
      + wanted.filter { ids.contains($0.id) }.flatMap { altered($0, record, client) }
  }

  /// What is wrong with the sockets of a port that nobody is to be answered on.
  private func altered(_ holding: Holding, _ record: HolderRecord, _ client: HolderClient) -> [Difference] {
    guard case .reservation(let reservation) = holding, let sockets = try? client.take(holding.id),
      let flaw = sockets.first.flatMap({ PortSocket.flaw(of: $0, reservation) })
    else { return [] }
    return [.socketAltered(holding, by: record, flaw)]
  }

  /// The ports of a process that is dead which somebody else has taken since.
  private func taken(_ holding: Holding) -> [Difference] {
    holding.ports.ports.compactMap { port in
      do throws(SystemError) {
        _ = try PortSocket.reserve(holding.transport, holding.hostIP, port)
        return nil
      } catch {
        guard error.errno == EADDRINUSE else { return nil }
        let owner = PortUser.find(holding.transport, port) ?? "another process"
        return .portTaken(holding, port: port, by: owner)
      }
    }
  }

  /// The ids of control sockets in the folder that the state does not know.
  var unknown: [String] {
    workspace.folder.names.compactMap(ControlSocket.id(of:)).filter { state.holder($0) == nil }.sorted()
  }
}
