/// Compares rules with what the state says of them, and looks for rules of others that come in their way.
struct RuleInspection {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  private var state: State { workspace.state }

  /// Everything that is different, or in the way.
  ///
  /// - Parameter probes: Whether rules count that have no part in what portmap makes, and drop what it leads on.
  func everything(probes: Bool = false) throws -> [Difference] {
    let firewall = try workspace.firewall()
    guard !state.chains.isEmpty || firewall.isInstalled else { return [] }
    let variant = try firewall.variant()
    if let recorded = state.firewallVariant, recorded != variant {
      return [.firewallVariant(recorded: recorded, now: variant)]
    }
    return try IPAddress.Family.allCases.filter(firewall.serves).flatMap { family in
      let (comparison, saved) = try compare(family)
      return comparison.differences.map { .rules($0) } + foreign(saved, family)
        + (probes ? try forwardDrops(saved, family) : [])
    } + nativeChains()
  }

  /// What is different in the rules that are portmap's own.
  func differences() throws -> [Difference] {
    let firewall = try workspace.firewall()
    return try IPAddress.Family.allCases.filter(firewall.serves).flatMap { family in
      try comparison(family).differences.map { .rules($0) }
    }
  }

  /// What iptables holds of one family next to what it should.
  ///
  /// - Parameter counters: Whether what rules have counted is to be kept in what mends them.
  func comparison(_ family: IPAddress.Family, counters: Bool = false) throws -> RuleComparison {
    try compare(family, counters: counters).0
  }

  private func compare(_ family: IPAddress.Family, counters: Bool = false) throws -> (
    RuleComparison, SavedRules
  ) {
    let expected = ExpectedRules(state)
    let saved = try workspace.firewall().saved(
      family,
      needing: expected.tables(of: family),
      counters: counters
    )
    let comparison = RuleComparison(
      family,
      chains: expected.chains,
      entries: expected.entries,
      saved: saved,
      workspace.layout
    )
    return (comparison, saved)
  }

  private func foreign(_ saved: SavedRules, _ family: IPAddress.Family) -> [Difference] {
    let rules = ForeignRules(saved: saved, layout: workspace.layout)
    let chain = workspace.layout.place(.dnat, family).name
    return state.mappings.filter { $0.delivery.nat && $0.backendIP.family == family }.flatMap { record in
      ["PREROUTING", "OUTPUT"].flatMap { rules.taking(record.mapping, hook: $0, before: chain) }
        .map { .foreignRule($0) }
    }
  }

  private func forwardDrops(_ saved: SavedRules, _ family: IPAddress.Family) throws -> [Difference] {
    let drops = ForwardDrops(saved: saved, layout: workspace.layout)
    let interfaces = try Interfaces.current()
    return state.mappings.filter { $0.delivery.nat && $0.backendIP.family == family }.flatMap { record in
      drops.dropping(record.mapping, link: interfaces.link(towards: record.backendIP))
        .map { .foreignRule($0) }
    }
  }

  private func nativeChains() throws -> [Difference] {
    let tables = NativeTables(runner: workspace.runner, link: try Interfaces.current().link)
    let bridges = state.bridges.filter(\.isOwn).map { ($0.name, $0.subnet) }
    return tables.drops(state.mappings.map(\.mapping), bridges: bridges).map { .nativeChain($0) }
  }
}
