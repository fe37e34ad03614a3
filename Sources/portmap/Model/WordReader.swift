/// A reader of the words of a record, each of which ends at the next space.
///
/// It works on bytes, not on characters: a state has thousands of records.
struct WordReader {
  private var rest: ArraySlice<UInt8>
  private(set) var isAtEnd = false

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  /// Reads the next word as it stands; nil, and the word is left, where it is empty.
  mutating func text() -> String? { value { $0.isEmpty ? nil : $0 } }

  /// Reads the next word as a decimal number; nil, and the word is left, where it is none.
  mutating func number<Number: FixedWidthInteger>(_: Number.Type) -> Number? { value { Number($0) } }

  /// Reads the next word if it is this one, and tells whether it was.
  mutating func take(_ word: String) -> Bool { value { $0 == word ? true : nil } ?? false }

  /// Reads the next word as the value that it means; nil, and the word is left, where it means none.
  mutating func value<Value>(_ meaning: (String) -> Value?) -> Value? {
    guard !isAtEnd else { return nil }
    let end = rest.firstIndex(of: UInt8(ascii: " "))
    guard let value = meaning(String(decoding: rest[..<(end ?? rest.endIndex)], as: UTF8.self)) else {
      return nil
    }
    rest = end.map { rest[($0 + 1)...] } ?? []
    isAtEnd = end == nil
    return value
  }
}
