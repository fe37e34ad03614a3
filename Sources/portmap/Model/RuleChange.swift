/// Rules that are made or deleted together, and the chains that come or go with them.
struct RuleChange: Codable, Equatable, Sendable {
  var chains: [Chain] = []
  var rules: [Rule] = []

  var isEmpty: Bool { chains.isEmpty && rules.isEmpty }

  /// What there is to change in one family.
  func part(_ family: IPAddress.Family) -> RuleChange {
    RuleChange(chains: chains.filter { $0.family == family }, rules: rules.filter { $0.family == family })
  }

  mutating func add(_ other: RuleChange) {
    chains += other.chains
    rules += other.rules
  }

  /// The families in which there is anything to change.
  var families: [IPAddress.Family] {
    IPAddress.Family.allCases.filter { family in
      chains.contains { $0.family == family } || rules.contains { $0.family == family }
    }
  }
}
