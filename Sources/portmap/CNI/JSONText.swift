/// A JSON document (RFC 8259) that is read where it stands: what nobody asks for is checked and passed over, and can be
/// handed on byte for byte.
///
/// Configurations hold the results of other plugins, which may be large and are printed unchanged.
struct JSONText {
  /// The text of the value without blanks around it.
  let bytes: ArraySlice<UInt8>

  /// Checks a whole document.
  ///
  /// - Throws: JSONMistake where it is not valid, blanks at its ends aside.
  init(_ document: [UInt8]) throws(JSONMistake) {
    var scanner = JSONScanner(document[...])
    scanner.skipBlanks()
    let start = scanner.position
    try scanner.skipValue()
    let end = scanner.position
    scanner.skipBlanks()
    guard scanner.isAtEnd else { throw JSONMistake(offset: scanner.position) }
    guard String(validating: document[start..<end], as: UTF8.self) != nil else {
      throw JSONMistake(offset: start)
    }
    bytes = document[start..<end]
  }

  fileprivate init(checked bytes: ArraySlice<UInt8>) { self.bytes = bytes }

  enum Kind: String {
    case object, array, string, number, boolean, null
  }

  var kind: Kind {
    switch bytes.first {
    case UInt8(ascii: "{"): .object
    case UInt8(ascii: "["): .array
    case UInt8(ascii: "\""): .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): .boolean
    case UInt8(ascii: "n"): .null
    default: .number
    }
  }

  /// The text as it stands, for messages; its beginning where it is long.
  var excerpt: String {
    let limit = 60
    let text = String(decoding: bytes.prefix(limit), as: UTF8.self)
    return bytes.count > limit ? text + "…" : text
  }

  /// The characters of a string; nil for any other value.
  var string: String? { kind == .string ? JSONScanner.characters(of: bytes) : nil }

  var boolean: Bool? { kind == .boolean ? bytes.first == UInt8(ascii: "t") : nil }

  /// A number without fraction and exponent; nil for any other value, or one too large.
  var integer: Int? { kind == .number ? Int(String(decoding: bytes, as: UTF8.self)) : nil }

  /// The value of a key; nil where there is none, or it is null. Of several alike the last counts.
  subscript(key: String) -> JSONText? {
    guard kind == .object else { return nil }
    var found: JSONText?
    for member in members where member.key == key { found = member.value }
    return found.flatMap { $0.kind == .null ? nil : $0 }
  }

  /// The keys and values of an object, in their order.
  var members: JSONMembers { JSONMembers(kind == .object ? bytes : []) }

  /// The values of an array, in their order.
  var elements: JSONElements { JSONElements(kind == .array ? bytes : []) }

  /// Writes a string.
  static func quoted(_ text: String) -> String {
    let escaped = text.unicodeScalars.map { scalar in
      switch scalar {
      case "\"", "\\": "\\\(scalar)"
      case "\0"..<" ": "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: String(scalar)
      }
    }
    return "\"" + escaped.joined() + "\""
  }
}

/// A place at which a text is no JSON.
struct JSONMistake: Error, Equatable {
  let offset: Int
}

/// The members of an object whose text has been checked.
struct JSONMembers: Sequence, IteratorProtocol {
  private var scanner: JSONScanner

  fileprivate init(_ object: ArraySlice<UInt8>) { scanner = JSONScanner(object.dropFirst()) }

  mutating func next() -> (key: String, value: JSONText)? {
    guard let key = scanner.nextValue(), let value = scanner.nextValue() else { return nil }
    return (JSONScanner.characters(of: key), JSONText(checked: value))
  }
}

/// The values of an array whose text has been checked.
struct JSONElements: Sequence, IteratorProtocol {
  private var scanner: JSONScanner

  fileprivate init(_ array: ArraySlice<UInt8>) { scanner = JSONScanner(array.dropFirst()) }

  /// The values of no array.
  static let none = JSONElements([])

  mutating func next() -> JSONText? { scanner.nextValue().map { JSONText(checked: $0) } }
}
