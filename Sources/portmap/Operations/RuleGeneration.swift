// Whether anybody else has changed a rule is asked of the kernel, which counts the changes of a namespace's nftables
// rule set: comparing thousands of rules before each command would cost more than the command.

extension Workspace {
  /// Whether nobody but portmap has changed a rule since the state was written; false where that is not known.
  var areRulesUntouched: Bool {
    if state.chains.isEmpty { return true }
    guard let known = state.rulesGeneration else { return false }
    return known == generation
  }

  /// Changes rules; their generation stays known where nobody else has changed any in between.
  ///
  /// - Parameter commits: How many tables are committed, each of which is a generation.
  func changeRules<Result>(commits: Int, _ body: () throws -> Result) rethrows -> Result {
    let before = areRulesUntouched ? generation : nil
    state.rulesGeneration = nil
    let result = try body()
    if let before, let after = generation, after == before &+ UInt32(commits) {
      state.rulesGeneration = after
    }
    return result
  }

  /// Finds what is different in the rules. Those that agree are known to from here on.
  func compareRules() throws -> [Difference] {
    let before = generation
    let differences = try RuleInspection(self).differences()
    if before == generation { state.rulesGeneration = before }
    return differences
  }

  /// The generation of the rules; nil where iptables does not keep them in nftables.
  private var generation: UInt32? {
    (try? firewallVariant()) == "nf_tables" ? NFTablesGeneration.current() : nil
  }
}

extension RuleChange {
  /// How many tables are committed when it is installed or removed.
  var commits: Int {
    let places = chains.map(\.place) + rules.map(\.place)
    return IPAddress.Family.allCases.reduce(0) { count, family in
      count
        + Rule.Table.allCases.count { table in
          places.contains { $0.family == family && $0.table == table }
        }
    }
  }
}
