/// Writes the text that makes iptables-restore add or take away rules.
extension RuleChange {
  /// The tables of a family that have anything to change.
  func tables(of family: IPAddress.Family) -> Set<Rule.Table> {
    Set((chains.map(\.place) + rules.map(\.place)).filter { $0.family == family }.map(\.table))
  }

  /// Returns input for `iptables-restore --noflush` that adds everything, in one transaction a table.
  func installText(_ family: IPAddress.Family) -> String {
    text(family) { chains, rules in
      chains.map { ":\($0.name) - [0:0]" }
        + chains.flatMap { $0.head + $0.entries }.map { Self.line($0) } + rules.map { Self.line($0) }
    }
  }

  /// Returns input for `iptables-restore --noflush` that takes everything away; a single line that does not match makes
  /// it fail and leaves that table as it was.
  func removeText(_ family: IPAddress.Family) -> String {
    text(family) { chains, rules in
      let names = Set(chains.map(\.name))
      let lines = (rules + chains.flatMap(\.entries)).filter { !names.contains($0.chain) }
      return lines.map { "-D \($0.chain) \($0.match)" } + chains.map { "-F \($0.name)" }
        + chains.map { "-X \($0.name)" }
    }
  }

  private static func line(_ rule: Rule) -> String {
    rule.position == .first ? "-I \(rule.chain) 1 \(rule.match)" : "-A \(rule.chain) \(rule.match)"
  }

  private func text(_ family: IPAddress.Family, _ lines: ([Chain], [Rule]) -> [String]) -> String {
    var text = ""
    for table in Rule.Table.allCases {
      let chains = chains.filter { $0.family == family && $0.table == table.rawValue }
      let rules = rules.filter { $0.family == family && $0.table == table }
      guard !chains.isEmpty || !rules.isEmpty else { continue }
      text += "*\(table.rawValue)\n" + lines(chains, rules).joined(separator: "\n") + "\nCOMMIT\n"
    }
    return text
  }
}
