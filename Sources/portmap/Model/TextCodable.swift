/// A value that is one text in JSON: of those there are thousands in a state, and a key costs as much as a text does.
protocol TextCodable: Codable {
  /// Nil for a text that says no such thing.
  init?(text: String)
  var text: String { get }
}

extension TextCodable {
  init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let value = Self(text: text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "no \(Self.self): \(text)")
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
