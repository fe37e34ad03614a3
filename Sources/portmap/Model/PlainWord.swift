/// Texts as words of a record: without spaces and bars, which stand between those, and in printable ASCII. Bytes that
/// would be mistaken are written as `%20`.
enum PlainWord {
  static func encoded(_ text: String) -> String {
    text.utf8.reduce(into: "") { word, byte in
      let isPlain = (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "%") && byte != UInt8(ascii: "|")
      if isPlain {
        word.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        word += "%" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16)
      }
    }
  }

  /// Reads what `encoded` has written; nil for anything else.
  static func decoded(_ word: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(word.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard rest.count >= 2, let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      else {
        return nil
      }
      bytes.append(code)
      rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
  }
}
