/// What tells the rules of one family that are there from those that should be.
struct RuleComparison {
  private let family: IPAddress.Family
  private let expected: [ChainPlace: [Rule]]
  private let entries: [Rule]
  private let saved: SavedRules
  private let layout: ChainLayout

  init(
    _ family: IPAddress.Family,
    chains: [ChainPlace: [Rule]],
    entries: [Rule],
    saved: SavedRules,
    _ layout: ChainLayout
  ) {
    self.family = family
    expected = chains.filter { $0.key.family == family }
    self.entries = entries.filter { $0.family == family }
    self.saved = saved
    self.layout = layout
  }

  /// A chain of this folder's, and what is wrong with it.
  private struct Finding {
    let place: ChainPlace
    let problems: [String]
  }

  /// Every difference, in the order of the tables and chains.
  var problems: [Problem] {
    let chains = differing.flatMap { finding in
      finding.problems.map { Problem(subject: subject(finding.place), problem: $0) }
    }
    let jumps = entries.compactMap { entry -> Problem? in
      switch saved.count(of: entry) {
      case 0: Problem(subject: subject(entry.place), problem: "the jump to \(entry.target) is missing")
      case 1: nil
      default:
        Problem(subject: subject(entry.place), problem: "the jump to \(entry.target) is there more than once")
      }
    }
    let orphans =
      orphanChains.map { Problem(subject: subject($0), problem: "no mapping has this chain") }
      + orphanRules.map {
        Problem(subject: subject($0.place), problem: "no mapping has the rule '\(Self.text($0.words))'")
      }
    return jumps + chains + orphans
  }

  /// Input of `iptables-restore --noflush` that makes the rules agree; empty where they do.
  var repairText: String {
    var text = ""
    for table in Rule.Table.allCases {
      let rewritten = differing.map(\.place).filter { $0.table == table }
      let gone = orphanChains.filter { $0.table == table }
      var lines = rewritten.map { ":\($0.name) - [0:0]" }
      lines += rewritten.flatMap { expected[$0] ?? [] }.map { "-A \($0.chain) \($0.match)" }
      lines += orphanRules.filter { $0.place.table == table }.map {
        "-D \($0.place.name) \(Self.text($0.words))"
      }
      for entry in entries where entry.table == table {
        let count = saved.count(of: entry)
        lines += Array(repeating: "-D \(entry.chain) \(entry.match)", count: max(0, count - 1))
        if count == 0 { lines.append("-I \(entry.chain) 1 \(entry.match)") }
      }
      lines += gone.map { "-F \($0.name)" } + gone.map { "-X \($0.name)" }
      if !lines.isEmpty { text += "*\(table.rawValue)\n" + lines.joined(separator: "\n") + "\nCOMMIT\n" }
    }
    return text
  }

  private var differing: [Finding] {
    expected.keys.sorted { ($0.table.rawValue, $0.name) < ($1.table.rawValue, $1.name) }.compactMap { place in
      let problems = difference(at: place)
      return problems.isEmpty ? nil : Finding(place: place, problems: problems)
    }
  }

  private func difference(at place: ChainPlace) -> [String] {
    guard let actual = saved.rules(place.table, place.name) else { return ["the chain is missing"] }
    let wanted = (expected[place] ?? []).map { (rule: $0, words: SavedRules.words($0.match[...])) }
    if actual == wanted.map(\.words) { return [] }
    var left: [[String]: Int] = [:]
    for words in actual { left[words, default: 0] += 1 }
    var problems: [String] = []
    for (rule, words) in wanted {
      if let count = left[words], count > 0 {
        left[words] = count - 1
      } else {
        problems.append("the rule '\(rule.match)' is missing")
      }
    }
    let known = Set(wanted.map(\.words))
    for (words, count) in left.sorted(by: { Self.text($0.key) < Self.text($1.key) }) where count > 0 {
      let what = known.contains(words) ? "is there more than once" : "belongs to no mapping"
      problems.append("the rule '\(Self.text(words))' \(what)")
    }
    return problems.isEmpty ? ["the rules are not in their order"] : problems
  }

  /// Chains by our names that nothing stands in any more.
  private var orphanChains: [ChainPlace] {
    saved.chains.flatMap { table, chains -> [ChainPlace] in
      guard let table = Rule.Table(rawValue: table) else { return [] }
      return chains.keys.map { ChainPlace(family: family, table: table, name: $0) }
        .filter { layout.owns(chain: $0.name) && expected[$0] == nil }
    }.sorted { $0.name < $1.name }
  }

  /// Rules with our comment in chains of others that no chain of ours accounts for.
  private var orphanRules: [(place: ChainPlace, words: [String])] {
    let known = Set(entries.map { SavedRules.words($0.match[...]) })
    return saved.chains.flatMap { table, chains -> [(ChainPlace, [String])] in
      guard let table = Rule.Table(rawValue: table) else { return [] }
      return chains.filter { !layout.owns(chain: $0.key) }.flatMap { chain, rules in
        rules.filter { isOurs($0) && !known.contains($0) }
          .map { (ChainPlace(family: family, table: table, name: chain), $0) }
      }
    }
  }

  private func isOurs(_ words: [String]) -> Bool {
    guard let comment = words.firstIndex(of: "--comment"), comment + 1 < words.count else { return false }
    return words[comment + 1].hasPrefix(layout.commentPrefix)
  }

  private func subject(_ place: ChainPlace) -> String {
    "\(family == .v4 ? "iptables" : "ip6tables") \(place.table.rawValue) \(place.name)"
  }

  /// WordReader as iptables-restore reads them.
  private static func text(_ words: [String]) -> String {
    words.map { word in
      let isPlain = !word.isEmpty && word.allSatisfy { $0 != " " && $0 != "\"" && $0 != "\\" }
      return isPlain ? word : "\"" + word.flatMap { $0 == "\"" || $0 == "\\" ? ["\\", $0] : [$0] } + "\""
    }.joined(separator: " ")
  }
}

extension Rule {
  /// The chain that the rule leads to.
  fileprivate var target: String { match.split(separator: " ").last.map(String.init) ?? "" }
}
