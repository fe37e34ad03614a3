/// The versions of CNI's specification that the plugin speaks: a digit for each of the three numbers.
enum CNIVersion: Int, CaseIterable, Sendable {
  case v0_1_0 = 0_1_0
  case v0_2_0 = 0_2_0
  case v0_3_0 = 0_3_0
  case v0_3_1 = 0_3_1
  case v0_4_0 = 0_4_0
  case v1_0_0 = 1_0_0
  case v1_1_0 = 1_1_0

  static let first = CNIVersion.v0_1_0
  static let latest = CNIVersion.v1_1_0

  /// Reads `1.1.0`; nil for a version that is none of these.
  init?(text: String) {
    guard let version = Self.allCases.first(where: { $0.text == text }) else { return nil }
    self = version
  }

  var text: String { "\(rawValue / 100).\(rawValue / 10 % 10).\(rawValue % 10)" }

  /// The forms that results have had.
  enum ResultForm {
    /// `ip4` and `ip6`, an address each.
    case pair
    /// `ips`, each of which says its family in `version`.
    case listWithFamilies
    case list
  }

  var resultForm: ResultForm {
    switch self {
    case .v0_1_0, .v0_2_0: .pair
    case .v0_3_0, .v0_3_1, .v0_4_0: .listWithFamilies
    case .v1_0_0, .v1_1_0: .list
    }
  }

  /// Whether it knows a command: CHECK came with 0.4.0, GC and STATUS with 1.1.0.
  func knows(_ command: CNICall.Command) -> Bool {
    switch command {
    case .add, .del, .version: true
    case .check: self == .v0_4_0 || resultForm == .list
    case .gc, .status: self == .v1_1_0
    }
  }
}

/// What VERSION prints.
struct CNIVersionDocument: Encodable {
  let cniVersion: String
  let supportedVersions = CNIVersion.allCases.map(\.text)

  private enum CodingKeys: String, CodingKey {
    case cniVersion, supportedVersions
  }
}
