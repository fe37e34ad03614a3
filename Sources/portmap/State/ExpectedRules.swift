/// What the firewall should hold of this state's: its own chains, rule for rule in order, and the jumps to them.
struct ExpectedRules: Equatable, Sendable {
  private(set) var chains: [ChainPlace: [Rule]] = [:]
  /// Rules that stand in chains of others: the built-in ones.
  private(set) var entries: [Rule] = []

  /// Plays all calls that installed rules once more.
  init(_ state: State) {
    for batch in state.batches {
      for chain in batch.chains { chains[chain.place] = [] }
      for rule in batch.chains.flatMap({ $0.head + $0.entries }) + batch.rules { install(rule) }
    }
  }

  /// The tables of a family in which any of it stands.
  func tables(of family: IPAddress.Family) -> Set<Rule.Table> {
    Set((Array(chains.keys) + entries.map(\.place)).filter { $0.family == family }.map(\.table))
  }

  private mutating func install(_ rule: Rule) {
    guard chains[rule.place] != nil else {
      entries.append(rule)
      return
    }
    switch rule.position {
    case .first: chains[rule.place]?.insert(rule, at: 0)
    case .last: chains[rule.place]?.append(rule)
    }
  }
}
