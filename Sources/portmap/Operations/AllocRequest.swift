import Glibc

/// What `alloc` is asked for: ports.
struct AllocRequest {
  let specs: [ReservationSpec]
  /// How many of each.
  let count: Int
  /// The host addresses of specs that name none; every one where empty.
  let hostAddresses: [HostAddress]
  /// Where ports are allocated.
  let range: PortRange
  /// Whether the ports are for servers that bind them themselves.
  let lend: Bool

  func hosts(of spec: ReservationSpec) -> [HostAddress] {
    hostAddresses.isEmpty || spec.hostAddress != .every ? [spec.hostAddress] : hostAddresses
  }

  /// Which port answers a spec.
  func choice(for spec: ReservationSpec) -> PortRequest.Choice {
    guard let ports = spec.ports else { return .next(in: range) }
    return ports.isSingle ? .exactly(ports) : .lowest(of: ports)
  }

  fileprivate func portRequest(_ spec: ReservationSpec) -> PortRequest {
    PortRequest(
      choice: choice(for: spec),
      width: 1,
      hosts: hosts(of: spec),
      transports: spec.transports.transports
    )
  }
}

/// Turns a request for ports into reservations whose ports are held.
struct Reserver {
  private let workspace: Workspace
  private let request: AllocRequest

  init(_ request: AllocRequest, _ workspace: Workspace) {
    self.request = request
    self.workspace = workspace
  }

  /// Ports that are held and not yet recorded.
  struct Result {
    /// In the order of the operands; a port on all its addresses and for all its transports each.
    let ports: [HeldPorts]
    let cursors: [String: UInt16]

    var sockets: [Descriptor] { ports.flatMap { $0.sockets.flatMap(\.sockets) } }
  }

  /// Holds the ports, those that somebody named first: the others must not be chosen from among them.
  func hold() throws -> Result {
    try DescriptorLimit.makeRoom(
      for: request.specs.count * request.count * max(2, request.hostAddresses.count * 2)
    )
    var allocator = workspace.portAllocator()
    var ports: [Int: [HeldPorts]] = [:]
    for isNamed in [true, false] {
      for (index, spec) in request.specs.enumerated() where (spec.ports?.isSingle ?? false) == isNamed {
        for _ in 0..<request.count {
          let held = try allocator.hold(request.portRequest(spec))
          ports[index, default: []].append(held)
        }
      }
    }
    let held = ports.keys.sorted().flatMap { ports[$0] ?? [] }
    if !workspace.isPreview { try PortAllocator.checkLent(held) }
    return Result(ports: held, cursors: allocator.cursors)
  }

  /// Plans the reservations of ports that are held.
  ///
  /// - Parameters:
  ///   - scope: The command that they live as long as.
  ///   - isHeldByCommand: Whether that command gets the sockets, and no background process.
  func plan(_ held: Result, scope: ProcessIdentity? = nil, isHeldByCommand: Bool = false) throws
    -> (Plan, HeldSockets)
  {
    var ids = NewIdentifiers(besides: workspace.state)
    var wanted = Wanted(holder: ids.next())
    var sockets = HeldSockets()
    wanted.cursors = held.cursors
    for port in held.ports {
      for (host, transport, opened) in port.sockets {
        let reservation = Reservation(
          id: ids.next(),
          transport: transport,
          hostIP: host,
          port: port.ports.first,
          isLent: request.lend,
          scope: scope
        )
        wanted.reservations.append(reservation)
        if isHeldByCommand { wanted.otherHolders[reservation.id] = "" }
        sockets.byHolding[reservation.id] = opened + (try announcements(reservation, opened))
      }
    }
    let facts = HostFacts(layout: workspace.layout, interfaces: try Interfaces.current())
    return (try Plan.making(wanted, in: workspace.state, on: facts), sockets)
  }

  /// Lends a reservation's ports where that is asked for.
  private func announcements(_ reservation: Reservation, _ sockets: [Descriptor]) throws -> [Descriptor] {
    guard reservation.isLent else { return [] }
    let port = LentPort(host: reservation.hostIP, port: reservation.port)
    do throws(SystemError) {
      var announcements: [Descriptor] = []
      for socket in sockets { announcements.append(try port.lend(socket)) }
      return announcements
    } catch {
      throw error.errno == EADDRINUSE ? AllocationError.lent(port: "\(reservation)") : error
    }
  }
}

/// What `alloc --ip` and `alloc --netns` are asked for.
struct AddressRequest {
  var name: String?
  /// A network namespace to plug in, whose name is then the address's.
  var namespace: String?
  var bridge: String?
  /// The network of a bridge that is yet to be made.
  var subnet: Subnet?

  /// What the address is called.
  var title: String? { namespace ?? name }

  /// Adds the address to what is wanted.
  ///
  /// - Parameter state: The state with what is wanted already.
  func allocate(
    _ workspace: Workspace,
    _ state: State,
    ids: inout NewIdentifiers,
    in wanted: inout Wanted
  ) throws -> AllocatedAddress {
    guard workspace.isPreview || Capability.mayAdministerNetwork else {
      throw OperationError.notPermitted(.addresses)
    }
    if let title, let taken = state.addresses.first(where: { $0.name == title }) {
      throw OperationError.nameTaken(title, by: taken.ip)
    }
    let network = BridgeNetwork(workspace, state)
    var address = try network.allocate(bridge: bridge, subnet: subnet, in: &wanted)
    address.name = name
    if let namespace { try network.plug(namespace, into: &address, by: "pm-\(ids.next())", in: &wanted) }
    return address
  }
}

extension Plan {
  /// Plans an address of a bridge network, and the plugging in of a namespace where one is named.
  static func address(_ request: AddressRequest, _ workspace: Workspace) throws -> (Plan, AllocatedAddress) {
    var ids = NewIdentifiers(besides: workspace.state)
    var wanted = Wanted(holder: ids.next())
    let address = try request.allocate(workspace, workspace.state, ids: &ids, in: &wanted)
    wanted.addresses = [address]
    let facts = HostFacts(
      layout: workspace.layout,
      interfaces: try Interfaces.current(),
      firewall: wanted.needsRules ? try workspace.firewallFacts() : nil
    )
    return (try Plan.making(wanted, in: workspace.state, on: facts), address)
  }
}
