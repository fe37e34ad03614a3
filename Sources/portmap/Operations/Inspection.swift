import Glibc

/// Compares the state with what exists: the one place where differences are found.
struct Inspection {
  let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  private var state: State { workspace.state }

  /// Every difference, and every reason why a mapping may not work.
  ///
  /// - Parameter probes: Whether others' rules are gone through that drop what mappings lead on.
  func differences(probes: Bool = false) throws -> [Difference] {
    guard state.intent == nil else { return [.commandDied] }
    var found: [Difference] = state.waiting.map { .removalWaits($0) }
    found += state.mappings.filter { $0.status == .broken }.map { .removalUnfinished($0.mapping) }
    found += try ProcessInspection(workspace).differences()
    found += try LinkInspection(workspace).differences()
    found += forwarding()
    found += connections()
    found += state.failures.map { .declarationFailed($0) }
    // Rules are root's alone to see; without any there is nothing to compare for others.
    if Capability.mayAdministerNetwork || !state.chains.isEmpty {
      found += try RuleInspection(workspace).everything(probes: probes)
    }
    return found
  }

  /// What is different in processes, links and switches that the state records, and in the variant of iptables.
  func differencesOfRecords() throws -> [Difference] {
    try ProcessInspection(workspace).differencesOfRecords()
      + LinkInspection(workspace).differencesOfRecords() + forwarding() + variant()
      + (state.connectRoutes.isEmpty ? [] : connections())
  }

  /// What is different in how loopback connections are led as they connect.
  private func connections() -> [Difference] {
    guard let comparison = workspace.compareConnections() else { return [] }
    let connected = state.mappings.map(\.mapping).filter(\.delivery.connect)
    let lost = Set(comparison.lost)
    let stray: [Difference] = comparison.stray.isEmpty ? [] : [.connectionsUnknown(comparison.stray)]
    if comparison.isProgramLost { return [.connectProgramLost(connected)] + stray }
    let affected = connected.filter { mapping in mapping.connectRoute.map(lost.contains) ?? false }
    return affected.map { .connectionsLost($0) } + stray
  }

  private func variant() -> [Difference] {
    guard let recorded = state.firewallVariant, !state.chains.isEmpty,
      let now = try? workspace.firewall().variant(), now != recorded
    else { return [] }
    return [.firewallVariant(recorded: recorded, now: now)]
  }

  private func forwarding() -> [Difference] {
    state.forwardingNeeded.filter(Forwarding.isOff).map { .forwardingOff($0) }
  }
}

extension State {
  /// The families for which forwarding has to be on.
  var forwardingNeeded: [IPAddress.Family] {
    var families = Set(mappings.filter(\.delivery.nat).map(\.backendIP.family))
    if bridges.contains(where: \.isOwn) { families.insert(.v4) }
    return families.sorted { $0.rawValue < $1.rawValue }
  }
}
