/// A comparison of the rules of one family that are there with those that should be.
struct RuleComparison {
  private let family: IPAddress.Family
  /// The rules that should stand in each chain of this folder's, in their order.
  private let expected: [ChainPlace: [Rule]]
  /// The jumps from others' chains.
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

  /// Every difference, in the order of the tables and chains.
  var differences: [RuleDifference] {
    jumps + expectedChains.flatMap(differences(at:))
      + surplusChains.map { RuleDifference(place: $0, kind: .chainSurplus) }
      + strayRules.map { RuleDifference(place: $0.place, kind: .ruleSurplus(SavedRules.text($0.words))) }
  }

  /// The input for `iptables-restore --noflush` that makes the rules agree; empty where they do. What rules have counted
  /// that are written anew is kept, as far as it was read.
  var repairText: String {
    let rewritten = expectedChains.filter { !differences(at: $0).isEmpty }
    let (surplus, stray) = (surplusChains, strayRules)
    var text = ""
    for table in Rule.Table.allCases {
      let rewritten = rewritten.filter { $0.table == table }
      let gone = surplus.filter { $0.table == table }
      var lines = rewritten.map { ":\($0.name) - [0:0]" }
      lines += rewritten.flatMap { expected[$0] ?? [] }.map(renewal)
      lines += stray.filter { $0.place.table == table }.map {
        "-D \($0.place.name) \(SavedRules.text($0.words))"
      }
      for entry in entries where entry.table == table {
        let count = saved.count(of: entry)
        lines += Array(repeating: "-D \(entry.chain) \(entry.match)", count: max(0, count - 1))
        if count == 0 { lines.append("-I \(entry.chain) 1 \(entry.match)") }
        if let drop = drop(before: entry) {
          lines += ["-D \(entry.chain) \(entry.match)", "-I \(entry.chain) \(drop) \(entry.match)"]
        }
      }
      lines += gone.map { "-F \($0.name)" } + gone.map { "-X \($0.name)" }
      if !lines.isEmpty { text += "*\(table.rawValue)\n" + lines.joined(separator: "\n") + "\nCOMMIT\n" }
    }
    return text
  }

  /// The line that adds a rule of a chain that was emptied.
  private func renewal(_ rule: Rule) -> String {
    let counter = saved.counter(of: rule).map { " --set-counters \($0.packets) \($0.bytes)" } ?? ""
    return "-A \(rule.chain)\(counter) \(rule.match)"
  }

  private var expectedChains: [ChainPlace] {
    expected.keys.sorted { ($0.table.rawValue, $0.name) < ($1.table.rawValue, $1.name) }
  }

  /// The place of docker's drop where it stands before a jump to what lets traffic through; nil where it does not.
  private func drop(before entry: Rule) -> Int? {
    guard entry.table == .filter, entry.chain == "FORWARD", saved.count(of: entry) == 1,
      let own = saved.position(of: entry), let drop = saved.dockerDrop, drop < own
    else { return nil }
    return drop
  }

  /// The jumps from others' chains that are not there exactly once, or are not in time.
  private var jumps: [RuleDifference] {
    entries.compactMap { entry in
      let count = saved.count(of: entry)
      if drop(before: entry) != nil {
        return RuleDifference(place: entry.place, kind: .jumpBehindDocker(to: entry.target))
      }
      guard count != 1 else { return nil }
      return RuleDifference(
        place: entry.place,
        kind: count == 0 ? .jumpMissing(to: entry.target) : .jumpDuplicated(to: entry.target)
      )
    }
  }

  private func differences(at place: ChainPlace) -> [RuleDifference] {
    guard let actual = saved.rules(place.table, place.name) else {
      return [RuleDifference(place: place, kind: .chainMissing)]
    }
    let wanted = (expected[place] ?? []).map { (rule: $0, words: SavedRules.words($0.match[...])) }
    if actual == wanted.map(\.words) { return [] }
    var left: [[String]: Int] = [:]
    for words in actual { left[words, default: 0] += 1 }
    var kinds: [RuleDifference.Kind] = []
    for (rule, words) in wanted {
      if let count = left[words], count > 0 {
        left[words] = count - 1
      } else {
        kinds.append(.ruleMissing(rule.match))
      }
    }
    let known = Set(wanted.map(\.words))
    let surplus = left.filter { $0.value > 0 }.map { (text: SavedRules.text($0.key), words: $0.key) }
    for (text, words) in surplus.sorted(by: { $0.text < $1.text }) {
      kinds.append(known.contains(words) ? .ruleDuplicated(text) : .ruleSurplus(text))
    }
    return (kinds.isEmpty ? [.wrongOrder] : kinds).map { RuleDifference(place: place, kind: $0) }
  }

  /// The chains with names of this folder's that are not recorded.
  private var surplusChains: [ChainPlace] {
    savedChains.map(\.place).filter { layout.owns(chain: $0.name) && expected[$0] == nil }
      .sorted { $0.name < $1.name }
  }

  /// The rules with comments of this folder's in chains of others that are not recorded.
  private var strayRules: [(place: ChainPlace, words: [String])] {
    let known = Set(entries.map { SavedRules.words($0.match[...]) })
    return savedChains.filter { !layout.owns(chain: $0.place.name) }.flatMap { place, rules in
      rules.filter { isOurs($0) && !known.contains($0) }.map { (place, $0) }
    }
  }

  private var savedChains: [(place: ChainPlace, rules: [[String]])] {
    saved.chains.flatMap { name, chains in
      Rule.Table(rawValue: name).map { table in
        chains.map { (ChainPlace(family: family, table: table, name: $0.key), $0.value) }
      } ?? []
    }
  }

  private func isOurs(_ words: [String]) -> Bool {
    guard let comment = words.firstIndex(of: "--comment"), comment + 1 < words.count else { return false }
    return words[comment + 1].hasPrefix(layout.commentPrefix)
  }
}

extension Rule {
  /// The chain that the rule leads to.
  fileprivate var target: String { match.split(separator: " ").last.map(String.init) ?? "" }
}
