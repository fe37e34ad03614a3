/// What is to be taken away, exactly as it was made.
///
/// As a state's intent it is written down before a command begins: the undoing of what the command makes, or the rest
/// of what it takes away. Whichever it was, a command that finds one there takes all of it away, as far as it exists.
struct Removal: Codable, Equatable, Sendable {
  var change = RuleChange()
  /// The variant of iptables that the rules are made with: they are taken away with the same, whatever `iptables` is
  /// by then.
  var firewallVariant: String?
  /// The ids of background processes that end.
  var holders: [String] = []
  /// What background processes let go of while they live on.
  var holdings: [HoldingReference] = []
  /// Links and bridges that are deleted.
  var links: [String] = []
  /// Ports whose old flows are deleted.
  var flows: [FlowFilter] = []
  /// Reservations that another background process was about to take over: their sockets are put back behind the
  /// filter, and lent ones stop listening.
  @Added var restored: [HoldingReference] = []
  /// Loopback ports whose connections are not led any more as they connect.
  @Added var connections: [ConnectPorts] = []

  var isEmpty: Bool { self == Removal() }

  /// The keys are those of the first version.
  private enum CodingKeys: String, CodingKey {
    case change
    case firewallVariant = "firewallBackend"
    case holders
    case holdings = "leases"
    case links
    case flows
    case restored
    case connections = "connect"
  }
}

/// The sockets of one mapping or reservation that a background process holds.
struct HoldingReference: Codable, Hashable, Sendable {
  let holder: String
  /// The mapping's or reservation's id.
  let id: String

  private enum CodingKeys: String, CodingKey {
    case holder
    case id = "lease"
  }
}

/// A list that a later version has added: a file without it is read as if it were empty, and an empty one is not
/// written.
@propertyWrapper
struct Added<Element> {
  var wrappedValue: [Element]

  init(wrappedValue: [Element]) { self.wrappedValue = wrappedValue }
}

extension Added: Equatable where Element: Equatable {}
extension Added: Sendable where Element: Sendable {}

extension Added: Codable where Element: Codable {
  init(from decoder: any Decoder) throws { wrappedValue = try [Element](from: decoder) }

  func encode(to encoder: any Encoder) throws { try wrappedValue.encode(to: encoder) }
}

extension KeyedDecodingContainer {
  func decode<Element: Codable>(_: Added<Element>.Type, forKey key: Key) throws -> Added<Element> {
    Added(wrappedValue: try decodeIfPresent([Element].self, forKey: key) ?? [])
  }
}

extension KeyedEncodingContainer {
  mutating func encode<Element: Codable>(_ list: Added<Element>, forKey key: Key) throws {
    if !list.wrappedValue.isEmpty { try encode(list.wrappedValue, forKey: key) }
  }
}
