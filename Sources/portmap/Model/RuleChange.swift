/// Rules that are made or deleted together, and the chains that come or go with them.
struct RuleChange: Codable, Equatable, Sendable {
  var chains: [Chain] = []
  var rules: [Rule] = []

  var isEmpty: Bool { chains.isEmpty && rules.isEmpty }

  /// The families in which there is anything to change.
  var families: [IPAddress.Family] {
    IPAddress.Family.allCases.filter { family in
      chains.contains { $0.family == family } || rules.contains { $0.family == family }
    }
  }
}
