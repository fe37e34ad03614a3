/// Everything that portmap has made in one network namespace on behalf of one state folder, with the exact words that
/// take it away again. docs/state.md describes the file.
struct State: Codable, Equatable, Sendable {
  static let currentVersion = 1

  var version = Self.currentVersion
  /// The namespace and the boot that it speaks of: in another one, none of it is there.
  let netnsCookie: UInt64
  let bootID: String
  /// The number of that namespace, for as long as anything keeps it; nil in a state of the first version.
  var netnsInode: UInt64?
  /// What the names of chains, the comments of rules and the aliases of links say, so that they are known as this
  /// state's: six hexadecimal digits, or nothing for a state that the first version has begun.
  var tag: String?

  /// Counts the calls that installed rules, whose order is the rules'.
  var serial = 0
  /// The last port that was given out to whoever asked for any, by transport.
  var cursors: [String: UInt16] = [:]
  /// `nf_tables` or `legacy`: the variant of iptables that the rules were made with. Nil while there are none.
  var firewallVariant: String?
  /// The generation of the nftables rule set when this state was written, where no other change had come between:
  /// as long as it is the same, nobody has touched a rule. Nil where that is not known.
  var rulesGeneration: UInt32?
  /// Whether it was said that IPv6 has no rules here, which is said once.
  var saidNoIPv6 = false
  var bridges: [BridgeRecord] = []
  var addresses: [AllocatedAddress] = []
  var mappings: [MappingRecord] = []
  var reservations: [ReservationRecord] = []
  var holders: [HolderRecord] = []
  /// The chains that exist, in the order in which they were made.
  var chains: [Chain] = []
  var shared: [SharedRules] = []
  /// What a command that has begun would leave behind if it died now.
  var intent: Removal?
  /// What could not be taken away when its time had come: the cause was outside, and may be gone one day.
  @Added var waiting: [Removal] = []
  /// Lines of applied files that could not be made.
  @Added var failures: [DeclarationFailure] = []
  /// The network namespaces of containers that have mappings.
  @Added var attachments: [AttachmentRecord] = []

  init(netnsCookie: UInt64, bootID: String) {
    self.netnsCookie = netnsCookie
    self.bootID = bootID
  }

  /// The keys are those of the first version, and others added since.
  private enum CodingKeys: String, CodingKey {
    case version, netnsCookie, bootID, serial, cursors
    case firewallVariant = "firewallBackend"
    case rulesGeneration, saidNoIPv6, bridges, addresses, mappings, reservations, holders, chains, shared,
      intent
    case tag, waiting, failures
    case attachments, netnsInode
  }
}

extension State {
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

  func holder(_ id: String) -> HolderRecord? { holders.first { $0.id == id } }

  func bridge(_ name: String) -> BridgeRecord? { bridges.first { $0.name == name } }

  /// Whether an id names anything.
  func knows(_ id: String) -> Bool {
    mappings.contains { $0.id == id } || reservations.contains { $0.id == id }
      || holders.contains { $0.id == id }
  }

  /// What a background process holds as far as the state knows.
  func holdings(of holder: String) -> [Holding] {
    mappings.filter { $0.holder == holder && $0.status == .active }.map { .mapping($0.mapping) }
      + reservations.filter { $0.holder == holder }.map { .reservation($0.reservation) }
  }

  /// Whether a background process still holds anything.
  func isInUse(holder id: String) -> Bool {
    mappings.contains { $0.holder == id } || reservations.contains { $0.holder == id }
  }

  /// Whether nothing is held, mapped or plugged in.
  var isEmpty: Bool {
    mappings.isEmpty && reservations.isEmpty && addresses.isEmpty && bridges.isEmpty && holders.isEmpty
      && intent == nil && waiting.isEmpty
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
