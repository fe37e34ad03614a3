import Glibc

/// Compares background processes and their sockets with what the state says of them.
struct ProcessInspection {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  private var state: State { workspace.state }

  func differences() throws -> [Difference] {
    try differencesOfRecords() + unknown.map { .processUnknown(id: $0) }
  }

  func differencesOfRecords() throws -> [Difference] { try state.holders.flatMap(differences) }

  /// - Throws: Interruption.
  private func differences(of record: HolderRecord) throws -> [Difference] {
    let wanted = state.holdings(of: record.id)
    guard let (client, held) = try answer(of: record) else {
      // Whoever answers is alive, whether /proc shows it or not.
      let isAlive = record.process.isAlive
      return isAlive
        ? [.processSilent(record, wanted)] : [.processDead(record, wanted)] + wanted.flatMap(taken)
    }
    let ids = Set(held.map(\.id))
    let known = Set(wanted.map(\.id))
    let excess = held.filter { !known.contains($0.id) }
    return wanted.filter { !ids.contains($0.id) }.map { .notHeld($0, by: record) }
      + namespaces(wanted.filter { ids.contains($0.id) }, record)
      + (excess.isEmpty ? [] : [.heldInExcess(excess, by: record)])
      + wanted.filter { ids.contains($0.id) }.flatMap { altered($0, record, client) }
  }

  /// What a process says that it holds; nil where it does not answer.
  private func answer(of record: HolderRecord) throws -> (HolderClient, [Holding])? {
    do {
      guard let client = try HolderClient.connect(to: record.id, in: workspace.folder.descriptor) else {
        return nil
      }
      return (client, try client.describe())
    } catch let interruption as Interruption {
      throw interruption
    } catch {
      return nil
    }
  }

  /// Whether the namespaces that a process was to enter are still those that it has entered. It keeps them, so nobody
  /// else has their numbers.
  private func namespaces(_ held: [Holding], _ record: HolderRecord) -> [Difference] {
    Dictionary(grouping: held, by: \.guest).compactMap { guest, holdings in
      guard let guest else { return nil }
      do throws(NamespaceError) {
        let now = try OpenedNamespace(guest.name).guest
        return now == guest ? nil : .namespaceReplaced(holdings, by: record, guest)
      } catch {
        // Whoever may not look at a namespace still sees whether the process is the same.
        let isSame = error.problem == .notPermitted && guest.isProcessThere
        return isSame ? nil : .namespaceGone(holdings, error)
      }
    }
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

extension GuestNamespace {
  /// Whether the process is still there that named it, if one did.
  fileprivate var isProcessThere: Bool {
    guard let startTime = identity.startTime, let pid = name.pid else { return true }
    return ProcessIdentity(pid: pid)?.startTime == startTime
  }
}
