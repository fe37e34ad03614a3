/// The release of what a match names: marked in the state, then rules, flows, sockets, and last the records.
///
/// Everything is tried. What fails keeps its record, so that the same command can be given again.
struct Release {
  private let workspace: Workspace
  private let match: Selection
  let before: State
  private let after: State
  let intent: Removal

  /// - Parameter everything: Whether portmap's own bridges go too.
  init(_ match: Selection, everything: Bool, workspace: Workspace) {
    self.workspace = workspace
    self.match = match
    before = workspace.state
    (after, intent) = Self.plan(match, everything: everything, before)
  }

  func carryOut() throws {
    guard after != before || !intent.isEmpty else { return }
    workspace.state = after
    workspace.state.intent = intent
    try workspace.save(mayUseSpare: true)
    let failures = Teardown(workspace: workspace).carryOut(intent)
    if let failure = failures.first {
      workspace.state = before
      for index in workspace.state.mappings.indices
      where match.mappings.contains(workspace.state.mappings[index].id) {
        workspace.state.mappings[index].status = .broken
      }
      try workspace.save(mayUseSpare: true)
      throw failure
    }
    workspace.state = after
    try workspace.save(mayUseSpare: true)
  }

  /// The state as it will be, and what has to be taken away for it. Pure.
  static func plan(_ match: Selection, everything: Bool, _ before: State) -> (State, Removal) {
    var after = before
    var intent = Removal()
    let gone = before.mappings.filter { match.mappings.contains($0.id) }
    after.mappings.removeAll { match.mappings.contains($0.id) }
    after.reservations.removeAll { match.reservations.contains($0.id) }

    let goneAddresses = before.addresses.filter { lease in
      match.addresses.contains(lease.ip)
        || (lease.isImplicit && !after.mappings.contains { $0.backendIP == lease.ip })
    }
    after.addresses.removeAll { goneAddresses.contains($0) }
    for lease in goneAddresses {
      if let index = after.bridges.firstIndex(where: { $0.name == lease.bridge }) {
        after.bridges[index].freed.append(lease.ip)
      }
    }
    intent.links = goneAddresses.compactMap(\.link)

    let needed = Set(after.mappings.flatMap(\.sharedKeys))
    let goneShared = before.shared.filter { !needed.contains($0.key) }
    after.shared.removeAll { !needed.contains($0.key) }
    let goneBridges = everything ? before.bridges : []
    if everything { after.bridges = [] }
    intent.links += goneBridges.filter(\.isOwn).map(\.name)

    let rules = gone.flatMap(\.rules) + goneShared.flatMap(\.rules) + goneBridges.flatMap(\.rules)
    intent.change = RuleChange.removing(rules, from: before.chains, remaining: after.rules)
    if !intent.change.isEmpty { intent.firewallBackend = before.firewallBackend }
    let goneChains = Set(intent.change.chains.map(\.place))
    after.chains.removeAll { goneChains.contains($0.place) }
    if after.chains.isEmpty { after.firewallBackend = nil }
    intent.flows = gone.filter { !$0.rules.isEmpty }.map(\.flows)

    intent.holders = before.holders.map(\.id).filter { !after.isInUse(holder: $0) }
    after.holders.removeAll { intent.holders.contains($0.id) }
    let leases =
      gone.map { HoldingReference(holder: $0.holder, lease: $0.id) }
      + before.reservations.filter { match.reservations.contains($0.id) }
      .map { HoldingReference(holder: $0.holder, lease: $0.id) }
    intent.leases = leases.filter { !$0.holder.isEmpty && !intent.holders.contains($0.holder) }
    return (after, intent)
  }
}
