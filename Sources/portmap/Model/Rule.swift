/// One iptables rule as it was, or will be, installed: `4 nat -A PORTMAP-TCP-31 -p tcp … -j DNAT …`.
///
/// The text is kept whole, so that whichever version of portmap removes the rule removes it to the letter as it was
/// installed. Behind family and table it is a line in the form and order of `iptables-save`, so that the two can be
/// compared word by word.
struct Rule: TextCodable, Hashable, Sendable {
  enum Table: String, CaseIterable, Sendable {
    case raw, nat, filter
  }

  /// The place of a new rule in its chain: behind the others, or before them all.
  enum Position: String, Sendable {
    case last = "-A"
    case first = "-I"
  }

  let text: String

  init(_ family: IPAddress.Family, _ table: Table, _ position: Position, _ chain: String, _ match: String) {
    text = "\(family.rawValue) \(table.rawValue) \(position.rawValue) \(chain) \(match)"
  }

  /// Reads a rule's text; nil for a text that is no rule.
  init?(text: String) { self.init(ArraySlice(text.utf8)) }

  /// Reads a rule's text from its bytes.
  init?(_ bytes: ArraySlice<UInt8>) {
    var words = WordReader(bytes)
    guard words.take("4") || words.take("6"), words.value(Table.init(rawValue:)) != nil,
      words.value(Position.init(rawValue:)) != nil, words.text() != nil, words.text() != nil,
      !bytes.contains(UInt8(ascii: "\n"))
    else { return nil }
    text = String(decoding: bytes, as: UTF8.self)
  }

  private var words: [Substring] { text.split(separator: " ", maxSplits: 4) }

  var family: IPAddress.Family { text.utf8.first == UInt8(ascii: "4") ? .v4 : .v6 }
  var table: Table { Table(rawValue: String(words[1])) ?? .filter }
  var position: Position { Position(rawValue: String(words[2])) ?? .last }
  var chain: String { String(words[3]) }
  var match: String { String(words[4]) }
  var place: ChainPlace { ChainPlace(family: family, table: table, name: chain) }

  /// Whether the text begins with one of a place's prefixes. It is asked of every rule there is, so it does not split
  /// the text into words.
  func begins(with prefixes: [String]) -> Bool { prefixes.contains { text.hasPrefix($0) } }
}

/// The name of a chain together with the family and the table that it is in.
struct ChainPlace: Hashable, Sendable {
  let family: IPAddress.Family
  let table: Rule.Table
  let name: String

  /// The beginnings of the texts of rules in the chain.
  var prefixes: [String] {
    [Rule.Position.last, .first].map { "\(family.rawValue) \(table.rawValue) \($0.rawValue) \(name) " }
  }
}

/// A chain of portmap's own, with the jumps to it and the rules at its head.
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
