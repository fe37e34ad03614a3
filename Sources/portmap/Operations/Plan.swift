/// A change of the state: what is made for it, and what is taken away once it stands.
///
/// Plans are values. Whatever is wanted (by map, alloc, unmap, repair) becomes one, in this file and PlanRelease.swift;
/// Transaction carries it out, Preview shows it.
struct Plan {
  let before: State
  var next: State
  var making = Making()
  var removal = Removal()
  var notices: [Notice] = []

  init(_ before: State) {
    self.before = before
    next = before
  }
}

/// What a plan makes, in the order in which it is made.
struct Making {
  var change = RuleChange()
  var links: [LinkChange] = []
  /// The families for which forwarding has to be on.
  var forwarding: Set<IPAddress.Family> = []
  /// The ids of mappings whose rules have conditions of others' making: they are recorded as iptables prints them.
  var conditional: Set<String> = []
  /// Ports whose old flows are deleted.
  var flows: [FlowFilter] = []
  /// The background processes that are started.
  var launches: [Launch] = []
  /// Loopback connections that are led as they connect.
  var connections: [ConnectRoute] = []
  /// Reservations whose sockets the new background process gets from others.
  var takenOver: [HoldingReference] = []

  /// All that new background processes hold from now on.
  var holdings: [Holding] { launches.flatMap(\.holdings) }

  /// What takes all of it away again.
  func undoing(variant: String?) -> Removal {
    var removal = Removal()
    removal.change = change
    if !change.isEmpty { removal.firewallVariant = variant }
    removal.links = links.compactMap(\.link)
    removal.flows = flows
    removal.connections = connections.map(\.ports)
    removal.holders = launches.map(\.holder)
    removal.restored = takenOver
    return removal
  }
}

/// A background process that is to be started.
struct Launch: Equatable {
  /// Its id.
  let holder: String
  /// The network namespace that it enters.
  var guest: GuestNamespace?
  /// What it holds from then on.
  var holdings: [Holding] = []
}

/// What is to be there besides what a state has already.
struct Wanted {
  /// The id of the background process that is to hold the sockets; empty where others hold all of them.
  let holder: String
  var mappings: [Mapping] = []
  var reservations: [Reservation] = []
  /// The ids of the processes that enter namespaces, and hold what leads there.
  var guestHolders: [GuestNamespace: String] = [:]
  /// The ids of those among them whose sockets something else holds, and what: empty for the command of their scope.
  var otherHolders: [String: String] = [:]
  /// The ids of mappings without sockets whose ports a stranger has: loopback is his.
  var unconnected: Set<String> = []
  /// Reservations whose ports are mapped.
  var takenOver: [ReservationRecord] = []
  /// The ids of what is released in the same call and whose sockets are handed on.
  var handedOn: Set<String> = []
  /// Further matches of the DNAT rules of mappings, by their ids.
  var conditions: [String: [String]] = [:]
  /// The last port that was given out to whoever asked for any, by transport.
  var cursors: [String: UInt16] = [:]
  var addresses: [AllocatedAddress] = []
  /// The bridges of these addresses, as they are once the addresses are given out.
  var bridges: [BridgeRecord] = []
  var links: [LinkChange] = []
  /// Whether the bridges' guests need forwarding to reach out.
  var needsForwarding = false
}

extension Wanted {
  /// Whether any of it takes rules.
  var needsRules: Bool { mappings.contains(where: \.delivery.rules) || bridges.contains(where: \.isOwn) }
}

/// What a plan depends on besides the state.
struct HostFacts {
  let layout: ChainLayout
  let interfaces: Interfaces
  /// How rules are made here; nil where none are wanted.
  var firewall: FirewallFacts?
  /// Whether loopback connections can be led as they connect.
  var connects = false
}

/// How rules are made on this host.
struct FirewallFacts {
  /// `nf_tables` or `legacy`.
  let variant: String
  let hasIPv6: Bool
}

extension Plan {
  /// Plans what is wanted: the records of the next state with the rules that they need, and what makes them.
  ///
  /// - Parameter released: What goes in the same call. It is taken away last, so that a port that changes hands is
  ///   served by the old mapping until the new one is there.
  static func making(
    _ wanted: Wanted,
    releasing released: Selection = Selection(),
    in before: State,
    on host: HostFacts
  ) throws(OperationError) -> Plan {
    var planner = Planner(before, host, wanted)
    planner.drop(released)
    try planner.addAll()
    if !released.isEmpty { planner.release(released) }
    return planner.plan
  }
}

private struct Planner {
  private(set) var plan: Plan
  private let host: HostFacts
  private let wanted: Wanted
  private var batch = RuleBatch()

  init(_ before: State, _ host: HostFacts, _ wanted: Wanted) {
    plan = Plan(before)
    plan.next.serial += 1
    self.host = host
    self.wanted = wanted
  }

  mutating func addAll() throws(OperationError) {
    plan.next.cursors.merge(wanted.cursors) { $1 }
    plan.making.links = wanted.links
    if wanted.needsForwarding { plan.making.forwarding.insert(.v4) }
    takeOver()
    for bridge in wanted.bridges { add(bridge) }
    plan.next.addresses += wanted.addresses
    for mapping in wanted.mappings { try add(mapping) }
    for reservation in wanted.reservations { add(reservation) }
    addChains()
  }

  /// Strikes out the records of what is released.
  mutating func drop(_ released: Selection) {
    plan.next.mappings.removeAll { released.mappings.contains($0.id) }
    plan.next.reservations.removeAll { released.reservations.contains($0.id) }
    let references =
      plan.before.mappings.map { HoldingReference(holder: $0.holder, id: $0.id) }
      + plan.before.reservations.map { HoldingReference(holder: $0.holder, id: $0.id) }
    plan.making.takenOver = references.filter { wanted.handedOn.contains($0.id) && !$0.holder.isEmpty }
  }

  /// Takes away what only that needed which is released, now that it is known what else needs it.
  mutating func release(_ released: Selection) { plan.release(released) }

  /// Those who held what is taken over let go of it, and end with the last that they have.
  private mutating func takeOver() {
    let references = wanted.takenOver.map { HoldingReference(holder: $0.holder, id: $0.id) }
    plan.making.takenOver += references
    let ids = Set(wanted.takenOver.map(\.id))
    plan.next.reservations.removeAll { ids.contains($0.id) }
    plan.endUnused(Set(wanted.takenOver.map(\.holder)))
    plan.removal.holdings = references.filter { !plan.removal.holders.contains($0.holder) }
  }

  private mutating func add(_ bridge: BridgeRecord) {
    var bridge = bridge
    if bridge.isOwn, bridge.rules.isEmpty {
      bridge.rules = host.layout.rules(forBridge: bridge.name, bridge.subnet).filter(canBeMade)
      bridge.serial = plan.next.serial
      batch.bridges += bridge.rules
    }
    plan.next.bridges.removeAll { $0.name == bridge.name }
    plan.next.bridges.append(bridge)
  }

  private mutating func add(_ mapping: Mapping) throws(OperationError) {
    var record = MappingRecord(mapping: mapping, holder: holder(of: mapping.id, mapping.into))
    record.mapping.delivery.connect = host.connects && mapping.mayBeConnected && isConnected(record)
    if let route = record.mapping.connectRoute { plan.making.connections.append(route) }
    record.mapping.tookOver = tookOver(by: mapping) ?? mapping.tookOver
    if mapping.delivery.rules { try addRules(to: &record) }
    plan.next.mappings.append(record)
    var held = mapping
    // Who rebuilds a lost state from what processes hold must not make its rules without their conditions.
    if wanted.conditions[mapping.id] != nil { held = mapping.withoutRules }
    hold(.mapping(held), by: record.holder, mapping.into)
  }

  /// Whether loopback connections to a mapping are wanted: where a proxy serves whatever is not led as it connects, and
  /// where somebody else opens the ports.
  private func isConnected(_ record: MappingRecord) -> Bool {
    if record.mapping.delivery.proxy { return true }
    let isUnheld = record.holder.isEmpty && record.mapping.scope == nil
    return isUnheld && wanted.conditions[record.id] == nil && !wanted.unconnected.contains(record.id)
  }

  /// The line that declares what a mapping takes over.
  private func tookOver(by mapping: Mapping) -> Origin? {
    wanted.takenOver.first {
      $0.hostIP == mapping.hostIP && $0.transport == mapping.transport && mapping.hostPorts.contains($0.port)
    }?.origin
  }

  private mutating func addRules(to record: inout MappingRecord) throws(OperationError) {
    let mapping = record.mapping
    if !hasIPv6, mapping.backendIP.family == .v6 { throw .noIPv6Rules(mapping.backendIP) }
    let conditions = wanted.conditions[mapping.id] ?? []
    let rules = host.layout.rules(for: mapping, conditions: conditions)
    if !conditions.isEmpty { plan.making.conditional.insert(mapping.id) }
    record.rules = rules.filter(canBeMade)
    if record.rules.count < rules.count, !plan.next.saidNoIPv6 {
      plan.next.saidNoIPv6 = true
      plan.notices.append(.noIPv6Rules)
    }
    record.serial = plan.next.serial
    batch.mappings += record.rules
    for purpose in record.sharedPurposes where !plan.next.shared.contains(where: { $0.purpose == purpose }) {
      let shared = SharedRules(
        purpose: purpose,
        rules: host.layout.rules(for: purpose, subnet: subnet(of: mapping.backendIP)),
        serial: plan.next.serial
      )
      plan.next.shared.append(shared)
      batch.shared += shared.rules
    }
    if mapping.delivery.nat { plan.making.forwarding.insert(mapping.backendIP.family) }
    plan.making.flows.append(mapping.flows)
  }

  private var hasIPv6: Bool { host.firewall?.hasIPv6 ?? true }

  private func canBeMade(_ rule: Rule) -> Bool { hasIPv6 || rule.family == .v4 }

  private mutating func add(_ reservation: Reservation) {
    let record = ReservationRecord(reservation: reservation, holder: holder(of: reservation.id))
    plan.next.reservations.append(record)
    hold(.reservation(reservation), by: record.holder)
  }

  private func holder(of id: String, _ guest: GuestNamespace? = nil) -> String {
    wanted.otherHolders[id] ?? guest.flatMap { wanted.guestHolders[$0] } ?? wanted.holder
  }

  private mutating func hold(_ holding: Holding, by holder: String, _ guest: GuestNamespace? = nil) {
    guard !holder.isEmpty, wanted.otherHolders[holding.id] == nil else { return }
    if let index = plan.making.launches.firstIndex(where: { $0.holder == holder }) {
      plan.making.launches[index].holdings.append(holding)
    } else {
      plan.making.launches.append(Launch(holder: holder, guest: guest, holdings: [holding]))
    }
  }

  private mutating func addChains() {
    guard !batch.rules.isEmpty else { return }
    plan.making.change = RuleChange.adding(
      batch.rules,
      to: plan.before.chains,
      host.layout,
      serial: plan.next.serial
    )
    plan.next.chains += plan.making.change.chains
    plan.next.firewallVariant = host.firewall?.variant
  }

  /// The network of a backend: of an interface that exists, or of the bridge that is about to.
  private func subnet(of backend: IPAddress) -> Subnet? {
    host.interfaces.subnet(of: backend) ?? plan.next.bridges.first { $0.subnet.contains(backend) }?.subnet
  }
}

extension Plan {
  /// Plans the end of those background processes that hold nothing any more.
  mutating func endUnused(_ holders: Set<String>) {
    let unused = holders.filter {
      !$0.isEmpty && !next.isInUse(holder: $0) && !removal.holders.contains($0)
    }.sorted()
    removal.holders += unused
    next.holders.removeAll { unused.contains($0.id) }
  }

  /// Plans that a new background process holds again what none holds any more, or what leads to another namespace now.
  ///
  /// - Parameter launch: What it is; other processes that held any of it end with the last that they have.
  static func holdingAgain(_ launch: Launch, in before: State) -> Plan {
    var plan = Plan(before)
    plan.making.launches = [launch]
    let holder = launch.holder
    let ids = Set(launch.holdings.map(\.id))
    var former: Set<String> = []
    for index in plan.next.mappings.indices where ids.contains(plan.next.mappings[index].id) {
      former.insert(plan.next.mappings[index].holder)
      plan.next.mappings[index].holder = holder
      plan.next.mappings[index].mapping.into = launch.guest
    }
    for index in plan.next.reservations.indices where ids.contains(plan.next.reservations[index].id) {
      former.insert(plan.next.reservations[index].holder)
      plan.next.reservations[index].holder = holder
    }
    plan.endUnused(former)
    return plan
  }
}
