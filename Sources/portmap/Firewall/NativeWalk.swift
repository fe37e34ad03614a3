/// A walk of packets, of which only some is known, through a base chain of one native table.
///
/// Each condition of a rule is met, not met, unknown, or met by what names the traffic: its port, its address, its
/// bridge, its having been translated. A rule with an unknown condition counts when another one names the traffic
/// (`ip saddr 192.0.2.0/24 tcp dport 8080 drop`), and not otherwise (`ip saddr @blocked drop`); so does what stands in
/// a chain that an unknown condition leads to. A rule about some of a range's ports drops the mapping's traffic and
/// does not accept it; the link that it leaves by is a name to accept it by (`iifname eth0 oifname br0 accept`), not to
/// drop it by (`iifname docker0 oifname br0 drop`).
struct NativeWalk {
  private let traffic: NativeTraffic
  private let ruleset: NativeRuleset
  private let table: NativeRuleset.TableName

  /// The verdicts on the traffic that are known. Many jumps may lead to one chain, and what is read need not come from
  /// the kernel, which has no loops: until a chain's verdict is known, it has none.
  private var known: [Visit: Verdict?] = [:]

  private struct Visit: Hashable {
    let chain: String
    let needsName: Bool
  }

  init(_ traffic: NativeTraffic, _ ruleset: NativeRuleset, _ table: NativeRuleset.TableName) {
    self.traffic = traffic
    self.ruleset = ruleset
    self.table = table
  }

  private enum Verdict {
    case accept
    case drop
  }

  private enum Action {
    case end(Verdict)
    case enter(String, isGoto: Bool)
    case leave
  }

  mutating func isDropped(in chain: NativeRuleset.Chain) -> Bool {
    let verdict = verdict(in: chain.name, needsName: false)
    return verdict.map { $0 == .drop } ?? (chain.policy == "drop")
  }

  /// Returns the verdict of a chain; nil where its end is reached.
  ///
  /// - Parameter needsName: Whether just rules that name the traffic count.
  private mutating func verdict(in chain: String, needsName: Bool) -> Verdict? {
    let visit = Visit(chain: chain, needsName: needsName)
    if let known = known[visit] { return known }
    known.updateValue(nil, forKey: visit)
    let verdict = walk(chain, needsName: needsName)
    known.updateValue(verdict, forKey: visit)
    return verdict
  }

  private mutating func walk(_ chain: String, needsName: Bool) -> Verdict? {
    for rule in ruleset.rules(table, chain) {
      for (action, conditions) in branches(of: rule) where !conditions.contains(.unmet) {
        var isNamed = conditions.contains(.named)
        var isCertain = !conditions.contains(.unknown)
        if case .end(.accept) = action {
          if conditions.contains(.partly) { isCertain = false }
          if conditions.contains(.leaving) { isNamed = true }
        } else if conditions.contains(.partly) {
          isNamed = true
        }
        let counts = isNamed || (isCertain && !needsName)
        switch action {
        case .end(let verdict): if counts { return verdict }
        case .leave: if counts { return nil }
        case .enter(let target, let isGoto):
          if let verdict = verdict(in: target, needsName: !counts) {
            return verdict
          }
          if isGoto, counts { return nil }
        }
      }
    }
    return nil
  }

  /// Returns what a rule does, and under which conditions: more than one thing where it looks its verdict up.
  private func branches(of rule: [JSON]) -> [(Action, [Truth])] {
    let match = NativeCondition(ruleset: ruleset, table: table, traffic: traffic)
    var conditions: [Truth] = []
    for statement in rule {
      if let condition = statement["match"] {
        conditions.append(match.truth(of: condition))
      } else if ["limit", "quota", "ct count"].contains(where: { statement[$0] != nil }) {
        conditions.append(.unknown)
      } else if let map = statement["vmap"], let key = map["key"], let data = map["data"] {
        return (ruleset.values(data, table) ?? []).compactMap { entry in
          guard entry.elements.count == 2, let action = action(entry.elements[1]) else { return nil }
          return (action, conditions + [match.truth(of: key, among: entry.elements[0])])
        }
      } else if let action = action(statement) {
        return [(action, conditions)]
      }
    }
    return []
  }

  private func action(_ statement: JSON) -> Action? {
    if statement["accept"] != nil { return .end(.accept) }
    if statement["drop"] != nil || statement["reject"] != nil { return .end(.drop) }
    if statement["return"] != nil { return .leave }
    if let target = statement["jump"]?["target"]?.text { return .enter(target, isGoto: false) }
    return statement["goto"]?["target"]?.text.map { .enter($0, isGoto: true) }
  }
}
