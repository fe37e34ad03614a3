// How apply makes what it has prepared, in as few transactions as possible, and what it does where some fail.

extension Apply {
  /// Makes what is prepared and releases what is not declared any more, in one transaction where that is possible.
  mutating func carryOut(_ prepared: [Prepared], releasing released: Selection) throws {
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
    sockets.namespaces = namespaces.namespaces
    let plan = try plan(prepared, releasing: released)
    try Transaction(plan, workspace, sockets: sockets).carryOut()
  }

  mutating func plan(_ prepared: [Prepared], releasing released: Selection) throws -> Plan {
    var wanted = Wanted(holder: ids.next())
    var going = released
    for one in prepared {
      wanted.add(one.wanted)
      going.formUnion(one.replaced)
    }
    wanted.nameGuestHolders(&ids)
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
  mutating func makeAgain(_ closed: Selection, _ before: State, _ comparison: Reconciliation) throws {
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
    func enter(_ mapping: Mapping) -> Mapping? {
      guard let name = mapping.into?.name else { return mapping }
      guard let namespace = try? OpenedNamespace(name) else { return nil }
      sockets.namespaces[namespace.guest] = namespace
      var mapping = mapping
      mapping.into = namespace.guest
      return mapping
    }
    wanted.mappings = before.mappings.filter { lost.mappings.contains($0.id) }.map(\.mapping)
      .compactMap(enter).filter { hold(.mapping($0)) }
    wanted.nameGuestHolders(&ids)
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
  mutating func record(_ failures: [DeclarationFailure]) throws {
    let others = workspace.state.failures.filter { !origins.contains($0.origin.name) }
    workspace.state.failures = others + failures
    try workspace.saveIfChanged()
  }
}

extension Error {
  /// Whether a transaction may have failed for the sake of one of the lines that it was for.
  fileprivate var isOfOneLine: Bool {
    self is ProgramError || self is NetworkError || self is AllocationError || self is NamespaceError
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
