/// The place that declares something: a line of an applied file.
struct Origin: Hashable, Sendable {
  /// The file's absolute path, or the name that standard input was given.
  let name: String
  /// The line's number as of the last time that the file was applied.
  var line: Int
}

extension Origin: CustomStringConvertible {
  /// `/etc/portmap.conf:3`
  var description: String { "\(name):\(line)" }
}

extension Origin: TextCodable {
  /// Reads `3:/etc/portmap.conf`: a text without spaces and bars, for it stands in records between those. Bytes that
  /// would be mistaken are written as `%20`.
  init?(text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let line = Int(parts[0]), line > 0, let name = Self.decoded(parts[1]) else {
      return nil
    }
    self.init(name: name, line: line)
  }

  var text: String { "\(line):\(encodedName)" }

  private var encodedName: String {
    name.utf8.reduce(into: "") { text, byte in
      let isPlain = (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "%") && byte != UInt8(ascii: "|")
      if isPlain {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "%" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16)
      }
    }
  }

  private static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
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
