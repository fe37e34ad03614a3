import Glibc

// How operations change rules: with the variant of iptables that made those that exist, and on what they build on.

extension Workspace {
  func firewall() throws -> Firewall { Firewall(runner: runner, lock: try namespaceLock()?.descriptor) }

  /// How rules are made on this host.
  func firewallFacts() throws -> FirewallFacts {
    FirewallFacts(variant: try firewallVariant(), hasIPv6: try firewall().serves(.v6))
  }

  /// The variant of iptables that made rules, and whether it is another one than `iptables` is.
  func firewall(of recorded: String?) throws -> (Firewall, isOther: Bool) {
    let firewall = try firewall()
    let variant = try firewallVariant()
    guard let recorded, recorded != variant else { return (firewall, false) }
    let other = firewall.of(variant: recorded)
    guard other.isInstalled else { throw OperationError.variantChanged(from: recorded, to: variant) }
    return (other, true)
  }

  /// Makes sure that a plan's rules can be added to those that exist: they were made by the same variant of iptables,
  /// and what a firewall's reload has taken of them is put back.
  func prepareFirewall(for plan: Plan) throws {
    guard !plan.making.change.isEmpty, !state.chains.isEmpty else { return }
    if let recorded = state.firewallVariant, let variant = plan.next.firewallVariant, recorded != variant {
      throw OperationError.variantChanged(from: recorded, to: variant)
    }
    guard !areRulesUntouched else { return }
    let differences = try compareRules()
    guard !differences.isEmpty else { return }
    try restoreRules(differences)
    notify(.rulesPutBack(differences.count))
  }

  /// Adds a plan's rules to those that exist.
  func install(_ change: RuleChange) throws {
    try changeRules(commits: change.commits) { try firewall().install(change) }
  }

  /// Records the rules of mappings that have conditions of others' making as iptables prints them: only it knows how it
  /// writes them, and with which words rules are compared.
  func adoptRules(of ids: Set<String>, in next: inout State) throws {
    guard !ids.isEmpty else { return }
    let firewall = try firewall()
    var saved: [IPAddress.Family: SavedRules] = [:]
    for index in next.mappings.indices where ids.contains(next.mappings[index].id) {
      let record = next.mappings[index]
      next.mappings[index].rules = try record.rules.flatMap { rule in
        let family = rule.family
        let known = try saved[family] ?? firewall.saved(family, needing: [rule.table])
        saved[family] = known
        return known.rules(like: rule, commented: layout.commentPrefix + record.id)
      }
    }
  }

  /// Makes the rules of the families that differ agree with the state.
  func restoreRules(_ differences: [Difference]) throws {
    let firewall = try firewall()
    for family in IPAddress.Family.allCases where differences.contains(where: { $0.isOfRules(family) }) {
      let text = try RuleInspection(self).comparison(family, counters: true).repairText
      let commits = text.split(separator: "\n").count { $0 == "COMMIT" }
      try changeRules(commits: commits) { try firewall.restore(family, text) }
    }
  }
}
