/// A mapping as the state has it: with the background process that holds its sockets and the rules that were made.
struct MappingRecord: PortMapping, Equatable, Sendable {
  enum Status: String, Sendable {
    case active
    /// Its removal failed half-way: unmapping it again, or `repair`, finishes it.
    case broken
  }

  var mapping: Mapping
  /// The id of the background process that holds its sockets; empty where none does, for it has rules alone.
  var holder: String
  /// The rules that are its own, as they were installed.
  var rules: [Rule] = []
  /// The number of the call that installed them.
  var serial = 0
  var status = Status.active

  var id: String { mapping.id }
  var pair: PortPair { mapping.pair }
  var delivery: Delivery { mapping.delivery }
  var scope: ProcessIdentity? { mapping.scope }
  var origin: Origin? { mapping.origin }

  /// What the mapping needs shared rules for.
  var sharedPurposes: [SharedPurpose] {
    guard !rules.isEmpty else { return [] }
    let backend = mapping.backendIP
    return
      (mapping.delivery.nat
      ? [mapping.delivery.hairpin ? .forwarding(to: backend) : .transit(to: backend)] : [])
      + (mapping.delivery.proxy ? [.replies(from: mapping.backendIP)] : [])
  }
}

/// A reservation as the state has it.
struct ReservationRecord: Equatable, Sendable {
  var reservation: Reservation
  /// The id of the background process that holds its socket; empty where the command of its scope holds it itself.
  var holder: String

  var id: String { reservation.id }
  var transport: Transport { reservation.transport }
  var hostIP: HostAddress { reservation.hostIP }
  var port: UInt16 { reservation.port }
  var isLent: Bool { reservation.isLent }
  var scope: ProcessIdentity? { reservation.scope }
  var origin: Origin? { reservation.origin }
}

/// A bridge that addresses were given out on.
struct BridgeRecord: Codable, Equatable, Sendable {
  let name: String
  /// Its own address, the guests' gateway, and the network.
  let subnet: Subnet
  /// Whether portmap made it, and so takes it away.
  let isOwn: Bool
  var rules: [Rule] = []
  /// The number of the call that installed the rules.
  var serial = 0
  /// The last address that was given out.
  var cursor: IPAddress?
  /// Addresses that were released, the first of them first.
  var freed: [IPAddress] = []
}

/// A background process that holds sockets.
struct HolderRecord: Equatable, Sendable {
  /// Names its control socket, too.
  let id: String
  let process: ProcessIdentity
}

/// A line of an applied file that could not be made.
struct DeclarationFailure: Codable, Equatable, Sendable {
  let origin: Origin
  let problem: String
  /// The exit status that the reason stands for.
  let status: Int32
}

/// Rules that several mappings need and that go with the last of them.
struct SharedRules: Codable, Equatable, Sendable {
  let purpose: SharedPurpose
  let rules: [Rule]
  /// The number of the call that installed them.
  let serial: Int

  /// The keys are those of the first version.
  private enum CodingKeys: String, CodingKey {
    case purpose = "key"
    case rules, serial
  }
}
