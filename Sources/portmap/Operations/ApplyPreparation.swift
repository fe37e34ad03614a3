// How apply holds the ports of each declaration, and plans what they are for.

extension Apply {
  /// Holds the ports of all that is missing; what cannot be had is left out, with its reason.
  mutating func prepare(_ comparison: Reconciliation, goingBesides closed: Selection) throws
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
      prepared.guest = try workspace.openNamespace(of: request, for: &namespaces)
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

  mutating func firewallFacts() throws -> FirewallFacts {
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
    if let target,
      request.hosts.contains(where: { target.request.mayBeItsOwnBackend($0, target.backend, interfaces) })
    {
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
          Mapping(id: id, pair: pair, delivery: delivery, origin: declaration.origin, into: prepared.guest)
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
}

extension Reconciliation.Task {
  fileprivate var isOfMappings: Bool { needs.contains { $0.backendPorts != nil } }
}

extension PortRequest {
  /// How many sockets it may take.
  fileprivate var socketCount: Int { width * hosts.count * transports.count }
}

extension Holding {
  fileprivate var origin: Origin? {
    switch self {
    case .mapping(let mapping): mapping.origin
    case .reservation(let reservation): reservation.origin
    }
  }
}
