import Testing

@testable import portmap

/// What iptables-restore --noflush does to a family's tables, as far as portmap uses it: a table's lines are one
/// transaction, and a line that does not fit fails it.
struct RestoreModel: Equatable {
  struct Refused: Error { let line: String }

  /// The rules of each chain, by table and chain.
  private(set) var tables: [String: [String: [String]]]

  init() {
    let hooks = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]
    tables = Dictionary(
      uniqueKeysWithValues: Rule.Table.allCases.map { table in
        (table.rawValue, Dictionary(uniqueKeysWithValues: hooks.map { ($0, ["-j stranger"]) }))
      }
    )
  }

  mutating func restore(_ text: String) throws {
    var name = ""
    var table: [String: [String]] = [:]
    for line in text.split(separator: "\n").map(String.init) {
      let words = line.split(separator: " ", maxSplits: 2).map(String.init)
      switch words[0].prefix(2) {
      case _ where line.hasPrefix("*"):
        name = String(line.dropFirst())
        guard let found = tables[name] else { throw Refused(line: line) }
        table = found
      case "CO": tables[name] = table
      case _ where line.hasPrefix(":"): table[String(words[0].dropFirst())] = []
      default: try Self.apply(words, line, to: &table)
      }
    }
  }

  private static func apply(_ words: [String], _ line: String, to table: inout [String: [String]]) throws {
    guard words.count > 1, var rules = table[words[1]] else { throw Refused(line: line) }
    let rest = words.count > 2 ? words[2] : ""
    func checkJump(_ match: String) throws {
      let jump = match.split(separator: " ").suffix(2)
      let target =
        match.contains("-j PORTMAP") || match.contains("-g PORTMAP") ? jump.last.map(String.init) : nil
      if let target, table[target] == nil { throw Refused(line: line) }
    }
    switch words[0] {
    case "-A":
      try checkJump(rest)
      rules.append(rest)
    case "-I":
      guard rest.hasPrefix("1 ") else { throw Refused(line: line) }
      try checkJump(rest)
      rules.insert(String(rest.dropFirst(2)), at: 0)
    case "-D":
      guard let index = rules.firstIndex(of: rest) else { throw Refused(line: line) }
      rules.remove(at: index)
    case "-F": rules = []
    case "-X":
      let isUsed = table.values.contains {
        $0.contains { $0.hasSuffix("-j \(words[1])") || $0.hasSuffix("-g \(words[1])") }
      }
      guard rules.isEmpty, !isUsed else { throw Refused(line: line) }
      table[words[1]] = nil
      return
    default: throw Refused(line: line)
    }
    table[words[1]] = rules
  }

  /// As iptables-save prints it.
  var saved: SavedRules {
    var text = ""
    for (table, chains) in tables {
      text += "*\(table)\n" + chains.keys.map { ":\($0) - [0:0]\n" }.joined()
      for (chain, rules) in chains { text += rules.map { "-A \(chain) \($0)\n" }.joined() }
      text += "COMMIT\n"
    }
    return SavedRules(text)
  }
}
