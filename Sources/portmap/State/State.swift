/// Everything that portmap has put into one network namespace on behalf of one state folder, and the exact words with
/// which to take it away again.
struct State: Codable, Equatable, Sendable {
  static let currentVersion = 1

  var version = Self.currentVersion
  /// The namespace and the boot that it speaks of: in another one, none of it is there.
  let netnsCookie: UInt64
  let bootID: String

  /// Counts the calls that installed rules, whose order is the rules'.
  var serial = 0
  /// The last port that was given out to whoever asked for any, by transport.
  var cursors: [String: UInt16] = [:]
  /// `nf_tables` or `legacy`: what the rules were made with. Nil while there are none.
  var firewallBackend: String?
  /// Whether it was said that IPv6 has no rules here, which is said once.
  var saidNoIPv6 = false
  var bridges: [BridgeRecord] = []
  var addresses: [AllocatedAddress] = []
  var mappings: [Mapping] = []
  var reservations: [Reservation] = []
  var holders: [HolderRecord] = []
  /// The chains that are there, in the order in which they came.
  var chains: [Chain] = []
  var shared: [SharedRules] = []
  var intent: Removal?

  init(netnsCookie: UInt64, bootID: String) {
    self.netnsCookie = netnsCookie
    self.bootID = bootID
  }

  /// All rules but those that come with chains.
  var rules: [Rule] { bridges.flatMap(\.rules) + shared.flatMap(\.rules) + mappings.flatMap(\.rules) }

  /// Chains and rules in the order in which they were installed: by calls, and in a call as `RuleBatch` has it.
  var batches: [RuleBatch] {
    var batches: [Int: RuleBatch] = [:]
    for chain in chains { batches[chain.serial, default: RuleBatch()].chains.append(chain) }
    for bridge in bridges { batches[bridge.serial, default: RuleBatch()].bridges += bridge.rules }
    for entry in shared { batches[entry.serial, default: RuleBatch()].shared += entry.rules }
    for mapping in mappings { batches[mapping.serial, default: RuleBatch()].mappings += mapping.rules }
    return batches.sorted { $0.key < $1.key }.map(\.value)
  }

  /// What the call of that number has installed.
  func batch(_ serial: Int) -> RuleBatch {
    RuleBatch(
      chains: chains.filter { $0.serial == serial },
      bridges: bridges.filter { $0.serial == serial }.flatMap(\.rules),
      shared: shared.filter { $0.serial == serial }.flatMap(\.rules),
      mappings: mappings.filter { $0.serial == serial }.flatMap(\.rules)
    )
  }

  func holder(_ id: String) -> HolderRecord? { holders.first { $0.id == id } }

  func bridge(_ name: String) -> BridgeRecord? { bridges.first { $0.name == name } }

  /// Whether an id names anything.
  func knows(_ id: String) -> Bool {
    mappings.contains { $0.id == id } || reservations.contains { $0.id == id }
      || holders.contains { $0.id == id }
  }

  /// Whether nothing is held, mapped or plugged in.
  var isEmpty: Bool {
    mappings.isEmpty && reservations.isEmpty && addresses.isEmpty && bridges.isEmpty && holders.isEmpty
  }
}

/// What one call installs.
struct RuleBatch: Equatable, Sendable {
  var chains: [Chain] = []
  var bridges: [Rule] = []
  var shared: [Rule] = []
  var mappings: [Rule] = []

  /// The rules in the order in which they are installed.
  var rules: [Rule] { bridges + shared + mappings }
}

/// A bridge that addresses were given out on.
struct BridgeRecord: Codable, Equatable, Sendable {
  let name: String
  /// Its own address, the guests' gateway, and the network.
  let subnet: Subnet
  /// Whether portmap made it, and so takes it away.
  let isOwn: Bool
  var rules: [Rule] = []
  /// The call that installed the rules.
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

/// Rules that several mappings need and that go with the last of them.
struct SharedRules: Codable, Equatable, Sendable {
  let key: String
  let rules: [Rule]
  /// The call that installed them.
  let serial: Int
}

extension Mapping {
  /// The flows that have to do with it.
  var flows: FlowFilter {
    FlowFilter(transport: transport, hostIP: hostIP, first: hostPort, last: hostPortEnd)
  }

  /// The keys of the shared rules that the mapping needs.
  var sharedKeys: [String] {
    guard !rules.isEmpty else { return [] }
    return (nat ? ["forward \(backendIP)"] : []) + (proxy ? ["replies \(backendIP)"] : [])
  }
}

/// What a command is about to put there, or to take away, written down before it starts.
///
/// Whichever it was, a command that finds it takes all of it away, as far as it is there: a half-made mapping is
/// undone, a half-done removal finished.
struct Removal: Codable, Equatable, Sendable {
  var change = RuleChange()
  /// What its rules are made with, as in the state: they are taken away with the same, whatever `iptables` is by then.
  var firewallBackend: String?
  /// Background processes that end.
  var holders: [String] = []
  /// What single processes let go of.
  var leases: [HoldingReference] = []
  /// Links and bridges that are deleted.
  var links: [String] = []
  /// Ports whose old flows are forgotten.
  var flows: [FlowFilter] = []

  var isEmpty: Bool { self == Removal() }
}

/// Something that a background process holds: the sockets of one mapping or reservation.
struct HoldingReference: Codable, Hashable, Sendable {
  let holder: String
  let lease: String
}
