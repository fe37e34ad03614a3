/// A value that is encoded as one text.
///
/// A state has thousands of them, and each key of an object would cost as much as the whole text.
protocol TextCodable: Codable {
  /// Reads the text of a value; nil for any other text.
  init?(text: String)
  /// The text that `init(text:)` reads.
  var text: String { get }
}

extension TextCodable {
  init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let value = Self(text: text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "'\(text)' is no \(Self.self)")
      )
    }
    self = value
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}

extension TextCodable where Self: LosslessStringConvertible {
  init?(text: String) { self.init(text) }
  var text: String { description }
}
