/// The rules that `iptables-save` printed: the chains and, in each, the rules in order, as words.
struct SavedRules: Equatable, Sendable {
  /// The rules of each chain by table and chain; a chain without rules is there with none.
  private(set) var chains: [String: [String: [[String]]]] = [:]
  /// What rules have counted, by table and words, the chain's name the first of them. Those that have counted nothing
  /// are not there.
  private var counters: [String: [[String]: Counter]] = [:]

  /// The packets and bytes that a rule has counted.
  struct Counter: Equatable, Sendable {
    var packets: UInt64
    var bytes: UInt64
  }

  init(_ text: String) {
    var table = ""
    for line in text.split(separator: "\n") {
      // `[5:300] -A …`
      let isCounted = line.hasPrefix("[")
      let counter = isCounted ? Counter(line.dropFirst().prefix { $0 != "]" }) : nil
      let line = isCounted ? line.drop { $0 != " " }.dropFirst() : line
      if line.hasPrefix("*") {
        table = String(line.dropFirst())
        chains[table] = chains[table] ?? [:]
      } else if line.hasPrefix(":"), let name = line.dropFirst().split(separator: " ").first {
        chains[table, default: [:]][String(name)] = []
      } else if line.hasPrefix("-A ") {
        let words = Self.words(line.dropFirst(3))
        guard let chain = words.first else { continue }
        chains[table, default: [:]][chain, default: []].append(Array(words.dropFirst()))
        if let counter { counters[table, default: [:]][words, default: Counter()].add(counter) }
      }
    }
  }

  func rules(_ table: Rule.Table, _ chain: String) -> [[String]]? { chains[table.rawValue]?[chain] }

  /// Returns how many times a rule is there.
  func count(of rule: Rule) -> Int {
    let words = Self.words(rule.match[...])
    return rules(rule.table, rule.chain)?.count { $0 == words } ?? 0
  }

  /// Returns what a rule has counted, all copies of it together; nil for nothing.
  func counter(of rule: Rule) -> Counter? {
    counters[rule.table.rawValue]?[[rule.chain] + Self.words(rule.match[...])]
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

extension SavedRules.Counter {
  init() { self.init(packets: 0, bytes: 0) }

  /// Reads `5:300`; nil for nothing that has been counted.
  fileprivate init?(_ text: Substring) {
    let numbers = text.split(separator: ":").map { UInt64($0) }
    guard numbers.count == 2, let packets = numbers[0], let bytes = numbers[1], packets > 0 else {
      return nil
    }
    self.init(packets: packets, bytes: bytes)
  }

  fileprivate mutating func add(_ other: Self) {
    packets &+= other.packets
    bytes &+= other.bytes
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
