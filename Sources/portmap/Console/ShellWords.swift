/// The words of a line, split as a shell splits them, with nothing expanded.
///
/// Blanks separate words, `#` at the beginning of one starts a comment. Single quotes keep everything; double quotes
/// keep everything but a backslash before one of `"`, `\`, `$` and a backquote; outside of quotes a backslash keeps the
/// next character.
struct ShellWords {
  private(set) var words: [String] = []

  /// Why a line cannot be split.
  enum Mistake: Error, Equatable {
    case openQuote(Character)
    /// The last character is a backslash: a line does not go on in the next one.
    case nothingBehindBackslash
    case controlCharacter(UInt8)
  }

  /// A word as it is to be typed: in single quotes where a shell would make something else of it.
  static func quoted(_ word: String) -> String {
    let isPlain = !word.isEmpty && word.allSatisfy { $0.isLetter || $0.isNumber || "-_./:=+,@%".contains($0) }
    return isPlain
      ? word
      : "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }

  init(_ line: ArraySlice<UInt8>) throws(Mistake) {
    var rest = line
    var word: [UInt8]?
    while let byte = rest.popFirst() {
      switch byte {
      case Byte.space, Byte.tab:
        end(&word)
      case Byte.hash where word == nil:
        return
      case Byte.backslash:
        guard let next = rest.popFirst() else { throw .nothingBehindBackslash }
        try Self.append(next, to: &word)
      case Byte.single, Byte.double:
        word = word ?? []
        try Self.readQuoted(by: byte, &rest, &word)
      default:
        try Self.append(byte, to: &word)
      }
    }
    end(&word)
  }

  private mutating func end(_ word: inout [UInt8]?) {
    if let word { words.append(String(decoding: word, as: UTF8.self)) }
    word = nil
  }

  private static func readQuoted(by quote: UInt8, _ rest: inout ArraySlice<UInt8>, _ word: inout [UInt8]?)
    throws(Mistake)
  {
    while let byte = rest.popFirst() {
      if byte == quote { return }
      if byte == Byte.backslash, quote == Byte.double, let next = rest.first, Byte.escapable.contains(next) {
        rest.removeFirst()
        try append(next, to: &word)
      } else {
        try append(byte, to: &word)
      }
    }
    throw .openQuote(Character(Unicode.Scalar(quote)))
  }

  /// Control characters have no meaning in a word, and a carriage return is easily overlooked.
  private static func append(_ byte: UInt8, to word: inout [UInt8]?) throws(Mistake) {
    guard byte >= 0x20, byte != 0x7F else { throw .controlCharacter(byte) }
    word = (word ?? []) + [byte]
  }

  private enum Byte {
    static let space = UInt8(ascii: " ")
    static let tab = UInt8(ascii: "\t")
    static let hash = UInt8(ascii: "#")
    static let backslash = UInt8(ascii: "\\")
    static let single = UInt8(ascii: "'")
    static let double = UInt8(ascii: "\"")
    static let escapable = [double, backslash, UInt8(ascii: "$"), UInt8(ascii: "`")]
  }
}

extension ShellWords.Mistake: CustomStringConvertible {
  var description: String {
    switch self {
    case .openQuote(let quote): "a quote (\(quote)) is not closed on its line"
    case .nothingBehindBackslash: "nothing follows the backslash: a line cannot go on in the next one"
    case .controlCharacter(let byte): "a control character (\(String(UnicodeScalar(byte)).printable()))"
    }
  }
}
