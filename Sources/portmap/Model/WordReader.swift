/// The words of a record, one after the other: each ends at the next space.
///
/// Bytes, not characters: there are thousands of records in a state.
struct WordReader {
  private var rest: ArraySlice<UInt8>
  private(set) var isAtEnd = false

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  /// The next word as it stands.
  mutating func text() -> String? { value { $0.isEmpty ? nil : $0 } }

  /// The next word as a number in decimal digits.
  mutating func number<Number: FixedWidthInteger>(_: Number.Type) -> Number? { value { Number($0) } }

  /// Whether the next word is this one, which is then taken.
  mutating func take(_ word: String) -> Bool { value { $0 == word ? true : nil } ?? false }

  /// The next word as what it says; nil, and the word is left, where it does not.
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
