/// The rules that `iptables-save` printed: the chains and, in each, the rules in order, as words.
struct SavedRules: Equatable, Sendable {
  /// The rules of each chain by table and chain; a chain without rules is there with none.
  private(set) var chains: [String: [String: [[String]]]] = [:]

  init(_ text: String) {
    var table = ""
    for line in text.split(separator: "\n") {
      if line.hasPrefix("*") {
        table = String(line.dropFirst())
        chains[table] = chains[table] ?? [:]
      } else if line.hasPrefix(":"), let name = line.dropFirst().split(separator: " ").first {
        chains[table, default: [:]][String(name)] = []
      } else if line.hasPrefix("-A ") {
        let words = Self.words(line.dropFirst(3))
        guard let chain = words.first else { continue }
        chains[table, default: [:]][chain, default: []].append(Array(words.dropFirst()))
      }
    }
  }

  func rules(_ table: Rule.Table, _ chain: String) -> [[String]]? { chains[table.rawValue]?[chain] }

  /// Returns how many times a rule is there.
  func count(of rule: Rule) -> Int {
    let words = Self.words(rule.match[...])
    return rules(rule.table, rule.chain)?.count { $0 == words } ?? 0
  }

  /// Returns the rules of a rule's chain that have its comment, as they are printed; the rule itself where there is none.
  func rules(like rule: Rule, commented comment: String) -> [Rule] {
    let found = (rules(rule.table, rule.chain) ?? []).filter { words in
      words.firstIndex(of: "--comment").map { $0 + 1 < words.count && words[$0 + 1] == comment } ?? false
    }
    guard !found.isEmpty else { return [rule] }
    return found.map { Rule(rule.family, rule.table, rule.position, rule.chain, Self.text($0)) }
  }

  /// Splits a line at spaces, but not within double quotes, where a backslash takes the next character as it is.
  static func words(_ line: Substring) -> [String] {
    var words: [String] = []
    var word = ""
    var isOpen = false
    var isQuoted = false
    var isEscaped = false
    for character in line {
      if isEscaped {
        word.append(character)
        isEscaped = false
      } else if isQuoted, character == "\\" {
        isEscaped = true
      } else if character == "\"" {
        isQuoted.toggle()
        isOpen = true
      } else if character == " ", !isQuoted {
        if isOpen || !word.isEmpty { words.append(word) }
        word = ""
        isOpen = false
      } else {
        word.append(character)
      }
    }
    if isOpen || !word.isEmpty { words.append(word) }
    return words
  }

  /// Joins words as iptables-restore reads them.
  static func text(_ words: [String]) -> String {
    words.map { word in
      let isPlain = !word.isEmpty && word.allSatisfy { $0 != " " && $0 != "\"" && $0 != "\\" }
      return isPlain ? word : "\"" + word.flatMap { $0 == "\"" || $0 == "\\" ? ["\\", $0] : [$0] } + "\""
    }.joined(separator: " ")
  }
}

extension RuleChange {
  /// Returns the part of a removal that is there to be removed in one family: each rule as often as it stands, and the
  /// chains that exist.
  func present(in saved: SavedRules, _ family: IPAddress.Family) -> RuleChange {
    var part = RuleChange()
    part.chains = chains.filter { $0.family == family && saved.rules($0.place.table, $0.name) != nil }
    let emptied = Set(part.chains.map(\.place))
    for rule in rules + chains.flatMap(\.entries) where rule.family == family && !emptied.contains(rule.place)
    {
      part.rules += Array(repeating: rule, count: saved.count(of: rule))
    }
    // Their entries are among the rules now, as often as they are there.
    part.chains = part.chains.map { Chain($0.place, entries: []) }
    return part
  }
}
