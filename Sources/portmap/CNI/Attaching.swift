/// Makes the mappings of an attachment, in the place of those that it has.
///
/// Theory of operation. What the attachment has already, and what containers have left on the ports that are wanted,
/// goes in the transaction that makes the new mappings, so that a port that stays is never free. A port that is wanted
/// on another host address than before, or whose process does not hand it out, is released first.
struct Attaching {
  private let workspace: Workspace
  private let attachment: Attachment
  private let namespace: String
  private let ports: AttachmentPorts

  /// - Parameter namespace: The path of the container's network namespace.
  init(_ attachment: Attachment, in namespace: String, _ ports: AttachmentPorts, _ workspace: Workspace) {
    self.attachment = attachment
    self.namespace = namespace
    self.ports = ports
    self.workspace = workspace
  }

  /// - Parameter report: Prints the result; where it cannot, everything is undone.
  func run(report: () throws -> Void) throws {
    guard Capability.mayAdministerNetwork else { throw OperationError.notPermitted(.rules) }
    let going = going
    try release(going.filter(isInTheWay))
    do {
      try make(report: report)
    } catch let error as HolderError where going.contains(where: { $0.holder == error.id }) {
      try release(going)
      try make(report: report)
    }
  }

  // MARK: what goes

  /// The mappings of the attachment, and those of containers that are gone with a port that is wanted.
  private var going: [MappingRecord] {
    let state = workspace.state
    let owners = state.mappings.filter { record in
      ports.wanted.contains { $0.pair.overlaps(record.mapping.pair) }
    }
    let names = Set(owners.compactMap(\.mapping.origin))
    let gone = state.attachments.filter { names.contains($0.origin) && $0.isGone }.map(\.origin)
    let origins = Set(gone + [attachment.origin])
    return state.mappings.filter { $0.mapping.origin.map(origins.contains) ?? false }
  }

  /// Whether a mapping keeps a port that is wanted on another host address, where no socket can be handed on.
  private func isInTheWay(_ record: MappingRecord) -> Bool {
    ports.wanted.contains { $0.pair.overlaps(record.mapping.pair) && $0.pair.hostIP != record.hostIP }
  }

  private func release(_ records: [MappingRecord]) throws {
    guard !records.isEmpty else { return }
    let selection = Selection(mappings: Set(records.map(\.id)))
    try Transaction(.releasing(selection, from: workspace.state), workspace, failures: .waiting).carryOut()
  }

  // MARK: what is made

  private func make(report: () throws -> Void) throws {
    let going = going
    var ids = NewIdentifiers(besides: workspace.state)
    var wanted = Wanted(holder: ids.next())
    var sockets = HeldSockets()
    var allocator = allocator(besides: going)
    if ports.isReserved {
      try DescriptorLimit.makeRoom(for: ports.wanted.reduce(0) { $0 + $1.pair.hostPorts.count })
    }
    for one in ports.wanted {
      let id = ids.next()
      if ports.isReserved {
        try hold(one.pair, as: id, &allocator, &wanted, &sockets)
      } else {
        try refuseGiven(one.pair, allocator)
        wanted.otherHolders[id] = ""
        if isListenedTo(one.pair) { wanted.unconnected.insert(id) }
      }
      wanted.mappings.append(
        Mapping(id: id, pair: one.pair, delivery: one.delivery, origin: attachment.origin)
      )
      if !one.conditions.isEmpty { wanted.conditions[id] = one.conditions }
    }
    let plan = try plan(wanted, releasing: Selection(mappings: Set(going.map(\.id))))
    try Transaction(plan, workspace, sockets: sockets).carryOut { _ in try report() }
  }

  /// An allocator to which the ports of what goes are there for the taking; those that no process holds are free.
  private func allocator(besides going: [MappingRecord]) -> PortAllocator {
    var draft = workspace.state
    let unheld = Set(going.filter { $0.holder.isEmpty || $0.status == .broken }.map(\.id))
    draft.mappings.removeAll { unheld.contains($0.id) }
    var allocator = workspace.portAllocator(in: draft)
    let ids = Set(going.map(\.id))
    allocator.isForTaking = { ids.contains($0.id) }
    return allocator
  }

  private func hold(
    _ pair: PortPair,
    as id: String,
    _ allocator: inout PortAllocator,
    _ wanted: inout Wanted,
    _ sockets: inout HeldSockets
  ) throws {
    if try pair.hostPorts == pair.backendPorts && Interfaces.current().isSame(pair.hostIP, pair.backendIP) {
      throw OperationError.ownBackend(pair.backendIP, pair.hostPorts)
    }
    let held = try allocator.hold(
      PortRequest(
        choice: .exactly(pair.hostPorts),
        width: pair.hostPorts.count,
        hosts: [pair.hostIP],
        transports: [pair.transport]
      )
    )
    sockets.byHolding[id] = held.sockets.flatMap(\.sockets)
    for taken in held.taken {
      wanted.handedOn.insert(taken.owner.id)
      sockets.wereServed = true
    }
  }

  /// Makes sure that no mapping or reservation has a port for which no socket is opened.
  private func refuseGiven(_ pair: PortPair, _ allocator: PortAllocator) throws {
    for port in pair.hostPorts.ports {
      guard let owner = allocator.ledger.owner(pair.transport, pair.hostIP, port),
        !allocator.isForTaking(owner)
      else { continue }
      throw AllocationError.given(port: "\(pair.hostIP.prefix)\(port)\(pair.transport.suffix)", owner: owner)
    }
  }

  /// Whether a stranger has any of some ports: a service of this host, whose clients on loopback are not led away.
  private func isListenedTo(_ pair: PortPair) -> Bool {
    pair.transport == .tcp
      && pair.hostPorts.ports.contains { port in
        do throws(SystemError) {
          _ = try PortSocket.reserve(pair.transport, pair.hostIP, port)
          return false
        } catch {
          return true
        }
      }
  }

  private func plan(_ wanted: Wanted, releasing going: Selection) throws -> Plan {
    let facts = HostFacts(
      layout: workspace.layout,
      interfaces: try Interfaces.current(),
      firewall: wanted.needsRules ? try workspace.firewallFacts() : nil,
      connects: workspace.leadsConnections(of: wanted.mappings)
    )
    var plan = try Plan.making(wanted, releasing: going, in: workspace.state, on: facts)
    plan.next.attachments.removeAll { $0.origin == attachment.origin }
    if let namespace = NetworkNamespace(at: namespace) {
      plan.next.attachments.append(
        AttachmentRecord(origin: attachment.origin, path: self.namespace, namespace: namespace)
      )
    }
    return plan
  }
}

extension PortPair {
  /// Whether both have a host port that would get the same packets.
  fileprivate func overlaps(_ other: PortPair) -> Bool {
    transport == other.transport && hostPorts.overlaps(other.hostPorts) && hostIP.overlaps(other.hostIP)
  }
}
