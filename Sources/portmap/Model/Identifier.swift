/// The two forms of identifiers, ids and names: no text is both.
enum Identifier {
  /// Whether a text is a letter a-f and seven hexadecimal digits in lower case: `a1b2c3d4`.
  static func isID(_ text: some StringProtocol) -> Bool {
    let bytes = Array(text.utf8)
    guard bytes.count == 8, (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(bytes[0]) else { return false }
    return bytes.allSatisfy { isDigit($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0) }
  }

  /// Whether a text is a letter or underscore, then up to 14 letters, digits, `_`, `.` or `-`, all ASCII, and no id.
  static func isName(_ text: some StringProtocol) -> Bool {
    let bytes = Array(text.utf8)
    guard (1...15).contains(bytes.count), isLetter(bytes[0]) || bytes[0] == UInt8(ascii: "_") else {
      return false
    }
    let others = Array("_.-".utf8)
    return bytes.allSatisfy { isLetter($0) || isDigit($0) || others.contains($0) } && !isID(text)
  }

  /// Makes an id that is not taken.
  static func make(unless taken: (String) -> Bool) -> String {
    while true {
      let number = UInt32.random(in: 0xA000_0000...UInt32.max)
      let id = String(number, radix: 16)
      if !taken(id) { return id }
    }
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}
