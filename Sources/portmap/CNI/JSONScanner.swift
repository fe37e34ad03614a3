/// A walk over the text of JSON values, however deep they are nested.
struct JSONScanner {
  private let text: ArraySlice<UInt8>
  private(set) var position: Int

  init(_ text: ArraySlice<UInt8>) {
    self.text = text
    position = text.startIndex
  }

  var isAtEnd: Bool { position == text.endIndex }

  private var next: UInt8? { position < text.endIndex ? text[position] : nil }

  private func mistake() -> JSONMistake { JSONMistake(offset: position) }

  mutating func skipBlanks() {
    while let byte = next, byte == 0x20 || (0x09...0x0D).contains(byte) && byte != 0x0B && byte != 0x0C {
      position += 1
    }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard next == byte else { return false }
    position += 1
    return true
  }

  // MARK: checking

  /// Passes over one value and checks it.
  ///
  /// The containers that are open are kept in a list: the depth of a document is no depth of calls.
  mutating func skipValue() throws(JSONMistake) {
    var open: [UInt8] = []
    while true {
      let opened = try beginValue(&open)
      if opened { continue }
      // A value has ended: what follows belongs to the containers around it.
      while let container = open.last {
        skipBlanks()
        if take(UInt8(ascii: ",")) {
          skipBlanks()
          if container == UInt8(ascii: "{") { try skipKey() }
          break
        }
        guard take(container + 2) else { throw mistake() }
        open.removeLast()
      }
      if open.isEmpty { return }
    }
  }

  /// Passes over a simple value or an empty container, or into a container.
  ///
  /// - Returns: Whether it is inside of one now, before its first value.
  private mutating func beginValue(_ open: inout [UInt8]) throws(JSONMistake) -> Bool {
    guard let byte = next else { throw mistake() }
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      position += 1
      skipBlanks()
      // `}` and `]` are two behind `{` and `[`.
      if take(byte + 2) { return false }
      open.append(byte)
      if byte == UInt8(ascii: "{") { try skipKey() }
      return true
    case UInt8(ascii: "\""): try skipString()
    case UInt8(ascii: "t"): try skip("true")
    case UInt8(ascii: "f"): try skip("false")
    case UInt8(ascii: "n"): try skip("null")
    default: try skipNumber()
    }
    return false
  }

  private mutating func skipKey() throws(JSONMistake) {
    try skipString()
    skipBlanks()
    guard take(UInt8(ascii: ":")) else { throw mistake() }
    skipBlanks()
  }

  private mutating func skip(_ word: StaticString) throws(JSONMistake) {
    for byte in UnsafeBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount) {
      guard take(byte) else { throw mistake() }
    }
  }

  private mutating func skipString() throws(JSONMistake) {
    guard take(UInt8(ascii: "\"")) else { throw mistake() }
    while let byte = next {
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return
      case UInt8(ascii: "\\"): try skipEscape()
      case 0..<0x20: throw JSONMistake(offset: position - 1)
      default: continue
      }
    }
    throw mistake()
  }

  private mutating func skipEscape() throws(JSONMistake) {
    guard let byte = next else { throw mistake() }
    position += 1
    if byte == UInt8(ascii: "u") {
      for _ in 0..<4 {
        guard let digit = next, Self.digit(digit) != nil else { throw mistake() }
        position += 1
      }
    } else if Self.escapes[byte] == nil {
      throw mistake()
    }
  }

  private mutating func skipNumber() throws(JSONMistake) {
    _ = take(UInt8(ascii: "-"))
    if !take(UInt8(ascii: "0")) { try skipDigits() }
    if take(UInt8(ascii: ".")) { try skipDigits() }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
      try skipDigits()
    }
  }

  private mutating func skipDigits() throws(JSONMistake) {
    let start = position
    while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { position += 1 }
    guard position > start else { throw mistake() }
  }

  // MARK: what has been checked

  /// Passes over the next value of a container, what stands before it included; nil at the container's end.
  mutating func nextValue() -> ArraySlice<UInt8>? {
    while let byte = next, byte <= 0x20 || byte == UInt8(ascii: ",") || byte == UInt8(ascii: ":") {
      position += 1
    }
    guard let byte = next, byte != UInt8(ascii: "]"), byte != UInt8(ascii: "}") else { return nil }
    let start = position
    guard (try? skipValue()) != nil else { return nil }
    return text[start..<position]
  }

  private static let escapes: [UInt8: UInt8] = [
    UInt8(ascii: "\""): 0x22, UInt8(ascii: "\\"): 0x5C, UInt8(ascii: "/"): 0x2F, UInt8(ascii: "b"): 0x08,
    UInt8(ascii: "f"): 0x0C, UInt8(ascii: "n"): 0x0A, UInt8(ascii: "r"): 0x0D, UInt8(ascii: "t"): 0x09,
  ]

  private static func digit(_ byte: UInt8) -> UInt16? {
    Character(UnicodeScalar(byte)).hexDigitValue.map { UInt16($0) }
  }

  /// The characters of a string that has been checked, its quotes included. Half of a pair of surrogates becomes a
  /// replacement character.
  static func characters(of string: ArraySlice<UInt8>) -> String {
    var rest = string.dropFirst().dropLast()
    guard rest.contains(UInt8(ascii: "\\")) else { return String(decoding: rest, as: UTF8.self) }
    var units: [UInt16] = []
    while let index = rest.firstIndex(of: UInt8(ascii: "\\")) {
      units += String(decoding: rest[..<index], as: UTF8.self).utf16
      let escape = rest[(index + 1)...]
      if escape.first == UInt8(ascii: "u") {
        units.append(escape.dropFirst().prefix(4).reduce(0) { $0 << 4 | (digit($1) ?? 0) })
        rest = escape.dropFirst(5)
      } else {
        units.append(UInt16(escape.first.flatMap { escapes[$0] } ?? 0x3F))
        rest = escape.dropFirst()
      }
    }
    units += String(decoding: rest, as: UTF8.self).utf16
    return String(decoding: units, as: UTF16.self)
  }
}
