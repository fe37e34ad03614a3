/// Makes what files declare so.
///
/// Theory of operation. What is recorded is mended first. A reconciliation then says what is missing. The ports of each
/// declaration are held one after the other, and whichever cannot be had leaves its line out; all others become one
/// plan, together with the release of what is declared no more, and one transaction carries it out. Where that fails
/// for a reason of one of the lines, its halves are tried instead, down to the line. What stands in the way on another
/// host address is closed before, and made again when its line fails.
struct Apply {
  /// What has come of it.
  struct Outcome {
    let before: State
    let after: State
    /// The declarations that could not be made, each with the reason.
    fileprivate(set) var failures: [(declaration: Declaration, error: any Error)] = []
    /// How many mappings, reservations and addresses were there already.
    let unchanged: Int
  }

  private let workspace: Workspace
  private let declarations: [Declaration]
  private let origins: Set<String>
  private var failed: [Int: any Error] = [:]
  private var ids: NewIdentifiers
  /// The state with all that earlier declarations are about to add.
  private var draft: State
  private var interfaces = Interfaces([])
  private var firewall: Result<FirewallFacts, any Error>?

  /// - Parameter origins: The names of the files, those that declare nothing too.
  init(_ declarations: [Declaration], from origins: [String], _ workspace: Workspace) {
    self.declarations = declarations
    self.origins = Set(origins)
    self.workspace = workspace
    draft = workspace.state
    ids = NewIdentifiers(besides: workspace.state)
  }

  /// What of one declaration is held and planned, and not made yet.
  private struct Prepared {
    let index: Int
    var wanted = Wanted(holder: "")
    var sockets = HeldSockets()
    var replaced: Selection
  }

  /// Makes and releases; in a preview it only finds out what that would be.
  ///
  /// - Parameter describe: Puts the failure of a declaration into what the state records of it.
  mutating func run(_ describe: (Declaration, any Error) -> DeclarationFailure) throws -> Outcome {
    let lost = workspace.isPreview ? [:] : mend()
    let before = workspace.state
    let comparison = reconcile()
    for (address, user) in comparison.kept { workspace.notify(.addressKept(address, for: user.mapping)) }
    for (index, declaration) in declarations.enumerated() {
      guard let id = lost.keys.first(where: { comparison.unchanged[$0] == declaration.origin }) else {
        continue
      }
      failed[index] = lost[id]
    }
    relabel(comparison)
    let closed = try close(comparison)
    interfaces = try Interfaces.current()
    let prepared = try prepare(comparison, goingBesides: closed)
    var after = workspace.state
    if workspace.isPreview {
      after = try plan(prepared, releasing: comparison.released).next
    } else {
      try carryOut(prepared, releasing: comparison.released.subtracting(closed))
      try makeAgain(closed, before, comparison)
      after = workspace.state
    }
    let problems = failed.sorted { $0.key < $1.key }.map { (declarations[$0.key], $0.value) }
    if !workspace.isPreview { try record(problems.map(describe)) }
    let unchanged = Set(comparison.unchanged.keys).subtracting(lost.keys).count + comparison.addresses.count
    return Outcome(before: before, after: after, failures: problems, unchanged: unchanged)
  }

  // MARK: before

  /// Mends what is recorded and broken.
  ///
  /// - Returns: The ids of what cannot be held again, each with the reason.
  private func mend() -> [String: any Error] {
    var repair = Repair(workspace)
    repair.whatIsRecorded()
    let rules = repair.done.count(where: \.isOfRules)
    if rules > 0 { workspace.notify(.rulesPutBack(rules)) }
    for mended in repair.done where !mended.isOfRules { workspace.notify(.mended(mended)) }
    let declared = Set(
      workspace.state.mappings.filter { isDeclared($0.mapping.origin) }.map(\.id)
        + workspace.state.reservations.filter { isDeclared($0.origin) }.map(\.id)
    )
    let lost = repair.lost.filter { declared.contains($0.key) }
    if repair.failures.count > lost.count, let first = repair.failures.first {
      workspace.notify(.notMended(first))
    }
    return lost
  }

  private func isDeclared(_ origin: Origin?) -> Bool { origin.map { origins.contains($0.name) } ?? false }

  private func reconcile() -> Reconciliation {
    var known: [String: Result<IPAddress, any Error>] = [:]
    return Reconciliation(of: declarations, from: origins, in: workspace.state) { [workspace] name in
      if let result = known[name] { return result }
      let result = Result { try workspace.network().address(ofNamespace: name) }
      known[name] = result
      return result
    }
  }

  /// Notes where what is there is declared now.
  private mutating func relabel(_ comparison: Reconciliation) {
    var state = workspace.state
    for index in state.mappings.indices {
      guard state.mappings[index].mapping.origin != nil,
        let origin = comparison.unchanged[state.mappings[index].id]
      else { continue }
      state.mappings[index].mapping.origin = origin
    }
    for index in state.reservations.indices {
      guard let origin = comparison.unchanged[state.reservations[index].id] else { continue }
      state.reservations[index].reservation.origin = origin
    }
    for index in state.addresses.indices {
      guard let origin = comparison.addresses[state.addresses[index].ip] else { continue }
      state.addresses[index].origin = origin
    }
    workspace.state = state
    draft = state
  }

  /// Closes what stands in the way of something new.
  private mutating func close(_ comparison: Reconciliation) throws -> Selection {
    var selection = Selection()
    for task in comparison.tasks { selection.formUnion(task.inTheWay) }
    guard !selection.isEmpty else { return selection }
    let plan = Plan.releasing(selection, from: workspace.state)
    if !workspace.isPreview { try Transaction(plan, workspace).carryOut() }
    draft = workspace.isPreview ? plan.next : workspace.state
    return workspace.isPreview ? Selection() : selection
  }

  // MARK: holding ports

  private mutating func prepare(_ comparison: Reconciliation, goingBesides closed: Selection) throws
    -> [Prepared]
  {
    let tasks = comparison.tasks
    guard !tasks.isEmpty else { return [] }
    try DescriptorLimit.makeRoom(
      for: tasks.reduce(0) { $0 + $1.needs.reduce(0) { $0 + $1.request.socketCount } }
    )
    var going = comparison.released
    for task in tasks { going.formUnion(task.replaced) }
    let promised = PromisedPorts(declarations)
    var allocator = workspace.portAllocator(in: draft)
    allocator.isPromised = promised.contains
    var prepared: [Prepared] = []
    for task in tasks {
      try Interruption.check()
      do {
        allocator.isForTaking = { [workspace] owner in
          going.mappings.contains(owner.id) || going.reservations.contains(owner.id)
            || (task.isOfMappings && workspace.isForTaking(owner))
        }
        var one = try prepare(task, &allocator)
        one.replaced = task.replaced.subtracting(closed)
        prepared.append(one)
      } catch let interruption as Interruption {
        throw interruption
      } catch {
        failed[task.index] = error
      }
    }
    return refuseLent(prepared)
  }

  private mutating func prepare(_ task: Reconciliation.Task, _ allocator: inout PortAllocator) throws
    -> Prepared
  {
    let declaration = declarations[task.index]
    var prepared = Prepared(index: task.index, replaced: task.replaced)
    switch declaration.demand {
    case .address(let request):
      var address = try request.allocate(workspace, draft, ids: &ids, in: &prepared.wanted)
      address.origin = declaration.origin
      prepared.wanted.addresses.append(address)
    case .ports:
      for need in task.needs { try hold(need, nil, declaration, &prepared, &allocator) }
    case .map(let request):
      let backend = try backend(of: task, request, declaration, &prepared)
      if try request.needsRules(backend) { try requireRules(for: backend) }
      try request.check(backend, interfaces)
      for need in task.needs { try hold(need, (request, backend), declaration, &prepared, &allocator) }
    }
    prepared.wanted.cursors = allocator.cursors
    add(prepared.wanted)
    return prepared
  }

  private mutating func requireRules(for backend: IPAddress) throws {
    guard workspace.isPreview || Capability.mayAdministerNetwork else {
      throw OperationError.notPermitted(.rules)
    }
    let facts = try firewallFacts()
    if !facts.hasIPv6, backend.family == .v6 { throw OperationError.noIPv6Rules(backend) }
  }

  private mutating func firewallFacts() throws -> FirewallFacts {
    let facts = firewall ?? Result { try workspace.firewallFacts() }
    firewall = facts
    return try facts.get()
  }

  private mutating func backend(
    of task: Reconciliation.Task,
    _ request: MapRequest,
    _ declaration: Declaration,
    _ prepared: inout Prepared
  ) throws -> IPAddress {
    switch task.backend {
    case .address(let address): return address
    case .unknown(let error): throw error
    case .pending(let name):
      guard let address = draft.addresses.first(where: { $0.name == name }) else {
        throw OperationError.unknownBackend(name)
      }
      return address.ip
    case .implicit, .none:
      guard workspace.isPreview || Capability.mayAdministerNetwork else {
        throw OperationError.notPermitted(.rules)
      }
      var address = try BridgeNetwork(workspace, draft)
        .allocate(bridge: request.bridge, subnet: nil, in: &prepared.wanted)
      address.isImplicit = true
      address.origin = declaration.origin
      prepared.wanted.addresses.append(address)
      return address.ip
    }
  }

  /// Holds the ports of one need, and adds what they are for.
  private mutating func hold(
    _ need: Reconciliation.Need,
    _ target: (request: MapRequest, backend: IPAddress)?,
    _ declaration: Declaration,
    _ prepared: inout Prepared,
    _ allocator: inout PortAllocator
  ) throws {
    var request = need.request
    if let target, request.hosts.contains(where: { interfaces.isSame($0, target.backend) }) {
      request.ownBackend = need.backendPorts
    }
    let held = try allocator.hold(request)
    for (host, transport, opened) in held.sockets {
      let id = ids.next()
      if let target, let backendPorts = need.backendPorts {
        let pair = PortPair(
          transport: transport,
          hostIP: host,
          hostPorts: held.ports,
          backendIP: target.backend,
          backendPorts: backendPorts
        )
        let delivery = try target.request.delivery(from: host, to: target.backend)
        prepared.wanted.mappings.append(
          Mapping(id: id, pair: pair, delivery: delivery, origin: declaration.origin)
        )
      } else {
        prepared.wanted.reservations.append(
          Reservation(
            id: id,
            transport: transport,
            hostIP: host,
            port: held.ports.first,
            origin: declaration.origin
          )
        )
      }
      prepared.sockets.byHolding[id] = opened
    }
    take(held, &prepared)
  }

  private func take(_ held: HeldPorts, _ prepared: inout Prepared) {
    for (owner, _, socket) in held.taken {
      let isGoing = !workspace.isForTaking(owner) || isDeclared(owner.origin)
      if isGoing {
        prepared.wanted.handedOn.insert(owner.id)
        prepared.sockets.wereServed = true
      } else if case .reservation(let reservation) = owner,
        let record = workspace.state.reservations.first(where: { $0.id == reservation.id })
      {
        prepared.wanted.takenOver.append(record)
        if reservation.isLent, let socket { prepared.sockets.lent.append((socket, reservation)) }
      }
    }
  }

  /// Adds to the draft what later declarations have to know.
  private mutating func add(_ wanted: Wanted) {
    draft.addresses += wanted.addresses
    for bridge in wanted.bridges {
      draft.bridges.removeAll { $0.name == bridge.name }
      draft.bridges.append(bridge)
    }
    draft.mappings += wanted.mappings.map { MappingRecord(mapping: $0, holder: "") }
  }

  /// Leaves out what another portmap has lent since.
  private mutating func refuseLent(_ prepared: [Prepared]) -> [Prepared] {
    let lent = LentPort.all()
    guard !lent.isEmpty, !workspace.isPreview else { return prepared }
    return prepared.filter { one in
      let holdings =
        one.wanted.mappings.map { Holding.mapping($0) }
        + one.wanted.reservations.map { Holding.reservation($0) }
      let own = Set(one.wanted.takenOver.map(\.port))
      for holding in holdings where holding.transport == .tcp {
        let clash = lent.first {
          holding.ports.contains($0.port) && !own.contains($0.port) && $0.host.overlaps(holding.hostIP)
        }
        guard let clash else { continue }
        failed[one.index] = AllocationError.lent(port: "\(holding.hostIP.prefix)\(clash.port)")
        return false
      }
      return true
    }
  }

  // MARK: making

  /// Makes what is prepared and releases what is not declared any more, in one transaction where that is possible.
  private mutating func carryOut(_ prepared: [Prepared], releasing released: Selection) throws {
    guard !prepared.isEmpty || !released.isEmpty else { return }
    do {
      try transact(prepared, releasing: released)
    } catch let interruption as Interruption {
      throw interruption
    } catch {
      if !released.isEmpty {
        guard !prepared.isEmpty else { throw error }
        try carryOut([], releasing: released)
        try carryOut(prepared, releasing: Selection())
      } else if prepared.count > 1, error.isOfOneLine {
        try carryOut(Array(prepared[..<(prepared.count / 2)]), releasing: Selection())
        try carryOut(Array(prepared[(prepared.count / 2)...]), releasing: Selection())
      } else {
        for one in prepared { failed[one.index] = error }
      }
    }
  }

  private mutating func transact(_ prepared: [Prepared], releasing released: Selection) throws {
    var sockets = HeldSockets()
    for one in prepared {
      sockets.byHolding.merge(one.sockets.byHolding) { $1 }
      sockets.lent += one.sockets.lent
      sockets.wereServed = sockets.wereServed || one.sockets.wereServed
    }
    let plan = try plan(prepared, releasing: released)
    try Transaction(plan, workspace, sockets: sockets).carryOut()
  }

  private mutating func plan(_ prepared: [Prepared], releasing released: Selection) throws -> Plan {
    var wanted = Wanted(holder: ids.next())
    var going = released
    for one in prepared {
      wanted.add(one.wanted)
      going.formUnion(one.replaced)
    }
    // Bridges may have been given out on, or made, since the declaration was prepared.
    for index in wanted.bridges.indices {
      guard let known = workspace.state.bridge(wanted.bridges[index].name), known.isOwn else { continue }
      wanted.bridges[index].rules = known.rules
      wanted.bridges[index].serial = known.serial
    }
    let facts = HostFacts(
      layout: workspace.layout,
      interfaces: interfaces,
      firewall: wanted.needsRules ? try firewallFacts() : nil,
      connects: workspace.leadsConnections(of: wanted.mappings)
    )
    return try Plan.making(wanted, releasing: going, in: workspace.state, on: facts)
  }

  // MARK: afterwards

  /// Makes again what was closed for declarations that then failed.
  private mutating func makeAgain(_ closed: Selection, _ before: State, _ comparison: Reconciliation) throws {
    var lost = Selection()
    for task in comparison.tasks where failed[task.index] != nil { lost.formUnion(task.inTheWay) }
    guard !lost.isEmpty else { return }
    var wanted = Wanted(holder: ids.next())
    var sockets = HeldSockets()
    func hold(_ holding: Holding) -> Bool {
      guard let opened = try? PortSocket.reserveAll(holding) else { return false }
      sockets.byHolding[holding.id] = opened
      return true
    }
    wanted.mappings = before.mappings.filter { lost.mappings.contains($0.id) }.map(\.mapping)
      .filter { hold(.mapping($0)) }
    wanted.reservations = before.reservations.filter { lost.reservations.contains($0.id) }.map(\.reservation)
      .filter { hold(.reservation($0)) }
    guard !sockets.byHolding.isEmpty else { return }
    let facts = HostFacts(
      layout: workspace.layout,
      interfaces: interfaces,
      firewall: wanted.needsRules ? try firewallFacts() : nil,
      connects: workspace.leadsConnections(of: wanted.mappings)
    )
    let plan = try Plan.making(wanted, in: workspace.state, on: facts)
    try Transaction(plan, workspace, sockets: sockets).carryOut()
  }

  /// Writes down what could not be made, and where the rest is declared.
  private mutating func record(_ failures: [DeclarationFailure]) throws {
    let others = workspace.state.failures.filter { !origins.contains($0.origin.name) }
    workspace.state.failures = others + failures
    try workspace.saveIfChanged()
  }
}

extension Error {
  /// Whether a transaction may have failed for the sake of one of the lines that it was for.
  fileprivate var isOfOneLine: Bool {
    self is ProgramError || self is NetworkError || self is AllocationError
  }
}

extension Reconciliation.Task {
  fileprivate var isOfMappings: Bool { needs.contains { $0.backendPorts != nil } }
}

extension PortRequest {
  /// How many sockets it may take.
  fileprivate var socketCount: Int { width * hosts.count * transports.count }
}

extension PortLedger.Owner {
  fileprivate var origin: Origin? {
    switch self {
    case .mapping(let mapping): mapping.origin
    case .reservation(let reservation): reservation.origin
    }
  }
}

extension Wanted {
  /// Adds what another declaration wants.
  fileprivate mutating func add(_ other: Wanted) {
    mappings += other.mappings
    reservations += other.reservations
    takenOver += other.takenOver
    handedOn.formUnion(other.handedOn)
    cursors.merge(other.cursors) { $1 }
    addresses += other.addresses
    for bridge in other.bridges {
      bridges.removeAll { $0.name == bridge.name }
      bridges.append(bridge)
    }
    links += other.links
    needsForwarding = needsForwarding || other.needsForwarding
  }
}

extension Selection {
  func subtracting(_ other: Selection) -> Selection {
    Selection(
      mappings: mappings.subtracting(other.mappings),
      reservations: reservations.subtracting(other.reservations),
      addresses: addresses.subtracting(other.addresses)
    )
  }
}
