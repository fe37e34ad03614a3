/// A plugin's configuration as a runtime hands it over (section 3, Deriving request configuration): what every command
/// needs of it. The rest is read when it is asked for, so that DEL has no use for it.
struct CNIConfiguration {
  let version: CNIVersion
  let network: String
  let body: JSONText

  /// Reads the version of a configuration, the first one where it says none.
  static func version(of body: JSONText) throws(CNIError) -> CNIVersion {
    let word = try body.text("cniVersion") ?? ""
    if word.isEmpty { return .first }
    if let version = CNIVersion(text: word) { return version }
    let known = CNIVersion.allCases.map(\.text).joined(separator: ", ")
    throw CNIError(
      .incompatibleVersion,
      "incompatible CNI version",
      "the configuration is of version \"\(word)\"; supported are \(known)"
    )
  }

  init(_ body: JSONText, _ version: CNIVersion, for command: CNICall.Command) throws(CNIError) {
    guard version.knows(command) else {
      throw CNIError(
        .incompatibleVersion,
        "incompatible CNI version",
        "the configuration's version \(version.text) does not know \(command.rawValue)"
      )
    }
    self.version = version
    self.body = body
    network = try body.text("name") ?? ""
    guard !network.isEmpty else {
      throw CNIError(.invalidConfiguration, "missing network name", "name is missing")
    }
    guard CNICall.isName(network) else {
      throw CNIError(.invalidConfiguration, "invalid network name", "name is '\(network)'")
    }
  }
}

extension JSONText {
  /// Checks that a whole input is one object.
  static func object(_ input: [UInt8]) throws(CNIError) -> JSONText {
    do throws(JSONMistake) {
      let text = try JSONText(input)
      if text.kind == .object { return text }
    } catch {
      let problem = input.isEmpty ? "there is none" : "it is no valid JSON (byte \(error.offset))"
      throw CNIError(.decoding, "cannot decode the configuration", problem)
    }
    throw CNIError(.decoding, "cannot decode the configuration", "it is no JSON object")
  }

  /// Reads a string; nil where there is none.
  func text(_ key: String) throws(CNIError) -> String? { try field(key, "a string", \.string) }

  func flag(_ key: String) throws(CNIError) -> Bool? { try field(key, "true or false", \.boolean) }

  func number(_ key: String) throws(CNIError) -> Int? { try field(key, "a whole number", \.integer) }

  /// Reads an object; nil where there is none.
  func dictionary(_ key: String) throws(CNIError) -> JSONText? {
    try field(key, "an object") { $0.kind == .object ? $0 : nil }
  }

  /// Reads an array; nil where there is none.
  func list(_ key: String) throws(CNIError) -> JSONElements? {
    try field(key, "an array") { $0.kind == .array ? $0.elements : nil }
  }

  private func field<Value>(
    _ key: String,
    _ expected: String,
    _ read: (JSONText) -> Value?
  ) throws(CNIError) -> Value? {
    guard let value = self[key] else { return nil }
    guard let read = read(value) else {
      throw CNIError(.decoding, "cannot decode \(key)", "\(key) is \(value.excerpt), not \(expected)")
    }
    return read
  }
}
