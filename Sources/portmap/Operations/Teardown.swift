import Glibc

/// Takes away what a removal names, as far as it exists. Everything is tried, whatever fails on the way.
struct Teardown {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  /// What a removal came to.
  struct Result {
    /// What failed, in the order in which it was tried.
    var failures: [any Error] = []
    /// The parts that failed.
    var left = Removal()
  }

  func carryOut(_ removal: Removal) -> Result {
    var result = Result()
    func attempt(_ body: () throws -> Void, orKeep keep: (inout Removal) -> Void) {
      do {
        try body()
      } catch {
        result.failures.append(error)
        keep(&result.left)
      }
    }
    // Links first: the rules that guard a bridge go after it.
    for link in removal.links where if_nametoindex(link) != 0 {
      attempt({ try workspace.network().carryOut(.delete(link)) }, orKeep: { $0.links.append(link) })
    }
    attempt({ try workspace.stopLeading(removal.connections) }) { $0.connections = removal.connections }
    for (change, failure) in remove(removal.change, variant: removal.firewallVariant) {
      result.failures.append(failure)
      result.left.change.add(change)
      result.left.firewallVariant = removal.firewallVariant
    }
    attempt({ try deleteFlows(removal.flows) }, orKeep: { $0.flows = removal.flows })
    for (holder, references) in Dictionary(grouping: removal.holdings, by: \.holder) {
      attempt({ try release(references.map(\.id), from: holder) }) { $0.holdings += references }
    }
    for holder in removal.holders {
      attempt({ try HolderClient.end(holder, in: workspace.folder.descriptor) }) { $0.holders.append(holder) }
    }
    for reference in removal.restored {
      attempt({ try restore(reference) }, orKeep: { $0.restored.append(reference) })
    }
    return result
  }

  /// Deletes the flows of these ports that began under other rules. A kernel that does not let them be deleted is no
  /// reason to give up the rest.
  func deleteFlows(_ filters: [FlowFilter]) throws {
    guard !filters.isEmpty else { return }
    do {
      try Flows.delete(matching: filters, isLocal: try Interfaces.current().isLocal)
    } catch let error as SystemError {
      workspace.notify(.flowsNotDeleted(error))
    }
  }

  /// - Returns: The parts that failed, with the reasons.
  private func remove(_ change: RuleChange, variant: String?) -> [(RuleChange, any Error)] {
    guard !change.isEmpty else { return [] }
    do {
      let (firewall, isOther) = try workspace.firewall(of: variant)
      if isOther, let variant { workspace.notify(.otherVariant(variant)) }
      return workspace.changeRules(commits: change.commits) { firewall.remove(change) }.map {
        (change.part($0.family), $0.error)
      }
    } catch {
      return [(change, error)]
    }
  }

  private func release(_ ids: [String], from holder: String) throws {
    guard let client = try HolderClient.connect(to: holder, in: workspace.folder.descriptor) else { return }
    try client.release(ids)
  }

  /// Puts sockets that another process was about to take over back to how they were: those of a port that is served
  /// receive, all others are behind their filter.
  private func restore(_ reference: HoldingReference) throws {
    let state = workspace.state
    guard let holding = state.holdings(of: reference.holder).first(where: { $0.id == reference.id }),
      let client = try HolderClient.connect(to: reference.holder, in: workspace.folder.descriptor)
    else { return }
    let sockets = try client.take(reference.id)
    switch holding {
    case .reservation(let reservation):
      if let socket = sockets.first { try PortSocket.restore(socket, reservation) }
    case .mapping(let mapping):
      for socket in sockets {
        try mapping.delivery.proxy
          ? DropFilter.detach(from: socket) : PortSocket.silence(socket, mapping.transport)
      }
    }
  }
}
