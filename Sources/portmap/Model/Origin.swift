/// The place that declares something: a line of an applied file, or the attachment of a container to a network.
struct Origin: Hashable, Sendable {
  /// The file's absolute path, the name that standard input was given, or `cni:NETWORK/CONTAINER/INTERFACE`.
  let name: String
  /// The line's number as of the last time that the file was applied; 0 for an attachment.
  var line: Int

  /// Whether it is a line of a file, as opposed to an attachment.
  var isLine: Bool { line > 0 }
}

extension Origin: CustomStringConvertible {
  /// `/etc/portmap.conf:3`
  var description: String { isLine ? "\(name):\(line)" : name }
}

extension Origin: TextCodable {
  /// Reads `3:/etc/portmap.conf` or `cni:net/container/eth0`: a text without spaces and bars, for it stands in records
  /// between those. Bytes that would be mistaken are written as `%20`.
  init?(text: String) {
    if text.hasPrefix(Attachment.prefix), let name = Self.decoded(text[...]) {
      self.init(name: name, line: 0)
      return
    }
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let line = Int(parts[0]), line > 0, let name = Self.decoded(parts[1]) else {
      return nil
    }
    self.init(name: name, line: line)
  }

  var text: String { isLine ? "\(line):\(Self.encoded(name))" : Self.encoded(name) }

  /// Writes a name as one word.
  static func encoded(_ name: String) -> String {
    name.utf8.reduce(into: "") { text, byte in
      let isPlain = (0x21...0x7E).contains(byte) && byte != UInt8(ascii: "%") && byte != UInt8(ascii: "|")
      if isPlain {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "%" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16)
      }
    }
  }

  /// Reads what `encoded` has written; nil for anything else.
  static func decoded(_ text: Substring) -> String? {
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
