/// One iptables rule as it was, or will be, installed: `4 nat -A PORTMAP-TCP-31 -p tcp … -j DNAT …`.
///
/// The text is kept whole, so that what is taken away is to the letter what was put there, whichever version of
/// portmap does it. Behind family and table it is a line in the form and order in which `iptables-save` prints it,
/// which makes comparing the two a matter of words.
struct Rule: Hashable, Sendable {
  enum Table: String, CaseIterable, Sendable {
    case raw, nat, filter
  }

  /// Where in its chain a rule goes: behind the others, or before them all.
  enum Position: String, Sendable {
    case last = "-A"
    case first = "-I"
  }

  let text: String

  init(_ family: IPAddress.Family, _ table: Table, _ position: Position, _ chain: String, _ match: String) {
    text = "\(family.rawValue) \(table.rawValue) \(position.rawValue) \(chain) \(match)"
  }

  /// Nil for a text that is no rule.
  init?(text: String) {
    // Bytes, not characters: there are thousands of rules in a state.
    let words = text.utf8.split(separator: UInt8(ascii: " "), maxSplits: 4)
    guard words.count == 5, !text.utf8.contains(UInt8(ascii: "\n")),
      words[0].elementsEqual("4".utf8)
        || words[0].elementsEqual("6".utf8),
      Table.allCases.contains(where: { words[1].elementsEqual($0.rawValue.utf8) }),
      words[2].elementsEqual(Position.last.rawValue.utf8)
        || words[2].elementsEqual(Position.first.rawValue.utf8)
    else { return nil }
    self.text = text
  }

  private var words: [Substring] { text.split(separator: " ", maxSplits: 4) }

  var family: IPAddress.Family { text.utf8.first == UInt8(ascii: "4") ? .v4 : .v6 }
  var table: Table { Table(rawValue: String(words[1])) ?? .filter }
  var position: Position { Position(rawValue: String(words[2])) ?? .last }
  var chain: String { String(words[3]) }
  var match: String { String(words[4]) }
  var place: ChainPlace { ChainPlace(family: family, table: table, name: chain) }

  /// Whether the text begins with one of a place's prefixes: asked of every rule there is, it takes nothing apart.
  func begins(with prefixes: [String]) -> Bool { prefixes.contains { text.hasPrefix($0) } }
}

/// The name of a chain together with the family and the table that it is in.
struct ChainPlace: Hashable, Sendable {
  let family: IPAddress.Family
  let table: Rule.Table
  let name: String

  /// What the texts of the rules in the chain begin with.
  var prefixes: [String] {
    [Rule.Position.last, .first].map { "\(family.rawValue) \(table.rawValue) \($0.rawValue) \(name) " }
  }
}

extension Rule: Codable {
  init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let rule = Rule(text: text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "no rule: \(text)")
      )
    }
    self = rule
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}

/// A chain of portmap's own: what leads into it and what always stands at its head.
///
/// It exists as long as any other rule is in it.
struct Chain: Codable, Hashable, Sendable {
  let family: IPAddress.Family
  let table: String
  let name: String
  /// The jumps to it, in other chains.
  let entries: [Rule]
  /// The rules at its head.
  let head: [Rule]
  /// The call that made it.
  var serial = 0

  init(_ place: ChainPlace, entries: [Rule], head: [Rule] = []) {
    family = place.family
    table = place.table.rawValue
    name = place.name
    self.entries = entries
    self.head = head
  }

  var place: ChainPlace {
    ChainPlace(family: family, table: Rule.Table(rawValue: table) ?? .filter, name: name)
  }
}
