/// What `map` is asked for.
struct MapRequest {
  enum Mode {
    case full, noProxy, proxyOnly
  }

  let specs: [PortSpec]
  let mode: Mode
  /// The host addresses of specs that name none; every one where empty.
  let hostAddresses: [HostAddress]
  /// The backend: an address, or a name; nil for the next address of the bridge network.
  let to: String?
  /// The network namespace that the proxy connects from; the backend is an address in there.
  var into: NamespaceName?
  let bridge: String?
  /// Where ports are allocated.
  let range: PortRange
  let masquerade: Bool
  let proxyProtocol: ProxyProtocol?

  func hosts(of spec: PortSpec) -> [HostAddress] {
    hostAddresses.isEmpty || spec.hostAddress != .every ? [spec.hostAddress] : hostAddresses
  }

  /// Which host ports answer a spec.
  func choice(for spec: PortSpec) -> PortRequest.Choice {
    switch spec.frontend {
    case .allocated: .next(in: range)
    case .fixed(let ports): .exactly(ports)
    case .anyOf(let range): .lowest(of: range)
    }
  }

  /// How packets to a host address get to a backend.
  ///
  /// - Throws: OperationError where only the proxy could lead them there and is not wanted.
  func delivery(from host: HostAddress, to backend: IPAddress) throws(OperationError) -> Delivery {
    // No packet comes from outside that a rule would have to lead on to a loopback address, nor may one be led to a
    // backend that only this host can reach.
    let rules = mode != .proxyOnly && !host.isLoopback && !backend.isLoopback
    let nat = rules && host.families.contains(backend.family)
    let proxy = mode != .noProxy
    guard nat || proxy else { throw .needsProxy(host, backend) }
    return Delivery(
      rules: rules,
      nat: nat,
      proxy: proxy,
      masquerade: masquerade && nat,
      proxyProtocol: proxyProtocol
    )
  }
}

extension MapRequest {
  /// Whether any of its mappings to a backend takes rules.
  func needsRules(_ backend: IPAddress) throws(OperationError) -> Bool {
    for spec in specs {
      for host in hosts(of: spec) {
        if try delivery(from: host, to: backend).rules { return true }
      }
    }
    return false
  }

  /// Makes sure that a backend can be one for these ports on this host. Nothing is known here of one in another namespace.
  func check(_ backend: IPAddress, _ interfaces: Interfaces) throws(OperationError) {
    if into == nil { try checkBackend(backend, interfaces) }
    for host in specs.flatMap(hosts) {
      if let address = host.address, !address.isUnspecified, !interfaces.isLocal(address) {
        throw .noHostAddress(address)
      }
    }
  }

  private func checkBackend(_ backend: IPAddress, _ interfaces: Interfaces) throws(OperationError) {
    if mode != .proxyOnly, !backend.isLoopback, interfaces.isLocal(backend) {
      throw .backendIsHost(backend)
    }
    if let subnet = interfaces.subnet(of: backend), subnet.prefixLength < 31, backend.family == .v4,
      [subnet.network, subnet.last].contains(backend)
    {
      throw .backendIsNetwork(backend, subnet)
    }
    for spec in specs {
      for host in hosts(of: spec) {
        if case .fixed(let ports) = spec.frontend, ports == spec.backend, interfaces.isSame(host, backend) {
          throw .ownBackend(backend, ports)
        }
      }
    }
  }

  /// Whether a port of a host address would lead to itself where it is the backend's.
  func mayBeItsOwnBackend(_ host: HostAddress, _ backend: IPAddress, _ interfaces: Interfaces) -> Bool {
    into == nil && interfaces.isSame(host, backend)
  }
}

/// Turns a request into a plan whose ports are held.
struct Mapper {
  private let workspace: Workspace
  private let request: MapRequest
  /// The command that the mappings live as long as.
  private let scope: ProcessIdentity?
  private var ids: NewIdentifiers
  private var wanted: Wanted
  private var sockets = HeldSockets()
  private var guest: GuestNamespace?

  init(_ request: MapRequest, _ workspace: Workspace, scope: ProcessIdentity? = nil) {
    self.request = request
    self.workspace = workspace
    self.scope = scope
    ids = NewIdentifiers(besides: workspace.state)
    wanted = Wanted(holder: ids.next())
  }

  /// A plan, the sockets for it, and its mappings in the order of the specs.
  struct Result {
    let plan: Plan
    let sockets: HeldSockets
    let mappings: [Mapping]
  }

  /// Holds the ports and plans the mappings.
  mutating func plan() throws -> Result {
    let interfaces = try Interfaces.current()
    if request.to == nil { try requireNetAdmin() }
    guest = try workspace.openNamespace(of: request, for: &sockets)
    let backend = try resolve()
    if try request.needsRules(backend) { try requireNetAdmin() }
    try request.check(backend, interfaces)
    try hold(backend, interfaces)
    let facts = HostFacts(
      layout: workspace.layout,
      interfaces: interfaces,
      firewall: wanted.needsRules ? try workspace.firewallFacts() : nil,
      connects: workspace.leadsConnections(of: wanted.mappings)
    )
    let plan = try Plan.making(wanted, in: workspace.state, on: facts)
    return Result(plan: plan, sockets: sockets, mappings: wanted.mappings)
  }

  // MARK: the backend

  private mutating func resolve() throws -> IPAddress {
    guard let target = request.to else {
      var address = try BridgeNetwork(workspace, workspace.state).allocate(
        bridge: request.bridge,
        subnet: nil,
        in: &wanted
      )
      address.isImplicit = true
      wanted.addresses.append(address)
      return address.ip
    }
    if let address = IPAddress(target) { return address }
    if let known = workspace.state.addresses.first(where: { $0.name == target }) { return known.ip }
    guard Files.exists("/run/netns/\(target)") else { throw OperationError.unknownBackend(target) }
    return try workspace.network().address(ofNamespace: target)
  }

  private func requireNetAdmin() throws(OperationError) {
    guard workspace.isPreview || Capability.mayAdministerNetwork else { throw .notPermitted(.rules) }
  }

  // MARK: the ports

  private mutating func hold(_ backend: IPAddress, _ interfaces: Interfaces) throws {
    try DescriptorLimit.makeRoom(
      for: request.specs.reduce(0) { $0 + $1.width * $1.transports.transports.count }
    )
    var allocator = workspace.portAllocator(takesOver: true)
    var mappings: [Int: [Mapping]] = [:]
    var held: [HeldPorts] = []
    // Ports that somebody named come first: the others must not be chosen from among them.
    for isFixed in [true, false] {
      for (index, spec) in request.specs.enumerated() where spec.frontend.isFixed == isFixed {
        let ports = try allocator.hold(portRequest(spec, backend, interfaces))
        for (host, transport, opened) in ports.sockets {
          let mapping = try mapping(host, transport, ports.ports, spec, backend)
          mappings[index, default: []].append(mapping)
          wanted.mappings.append(mapping)
          sockets.byHolding[mapping.id] = opened
        }
        take(ports)
        held.append(ports)
      }
    }
    if !workspace.isPreview { try PortAllocator.checkLent(held) }
    wanted.cursors = allocator.cursors
    wanted.mappings = mappings.keys.sorted().flatMap { mappings[$0] ?? [] }
    wanted.nameGuestHolders(&ids)
  }

  private mutating func mapping(
    _ host: HostAddress,
    _ transport: Transport,
    _ ports: PortRange,
    _ spec: PortSpec,
    _ backend: IPAddress
  ) throws -> Mapping {
    Mapping(
      id: ids.next(),
      pair: PortPair(
        transport: transport,
        hostIP: host,
        hostPorts: ports,
        backendIP: backend,
        backendPorts: spec.backend
      ),
      delivery: try request.delivery(from: host, to: backend),
      scope: scope,
      into: guest
    )
  }

  private func portRequest(_ spec: PortSpec, _ backend: IPAddress, _ interfaces: Interfaces) -> PortRequest {
    let hosts = request.hosts(of: spec)
    return PortRequest(
      choice: request.choice(for: spec),
      width: spec.width,
      hosts: hosts,
      transports: spec.transports.transports,
      ownBackend: hosts.contains { request.mayBeItsOwnBackend($0, backend, interfaces) } ? spec.backend : nil
    )
  }

  private mutating func take(_ held: HeldPorts) {
    for case (.reservation(let reservation), _, let socket) in held.taken {
      guard let record = workspace.state.reservations.first(where: { $0.id == reservation.id }) else {
        continue
      }
      wanted.takenOver.append(record)
      if reservation.isLent, let socket { sockets.lent.append((socket, reservation)) }
    }
  }
}

extension PortSpec.Frontend {
  fileprivate var isFixed: Bool {
    if case .fixed = self { true } else { false }
  }
}

extension IPRoute {
  /// The first address of a namespace that is not loopback or link-local, IPv4 before IPv6.
  func address(ofNamespace name: String) throws -> IPAddress {
    guard Files.exists("/run/netns/\(name)") else { throw OperationError.unknownBackend(name) }
    let addresses = try links(inNamespace: name).flatMap { $0.addr_info ?? [] }
      .compactMap { $0.local.flatMap { IPAddress($0) } }.filter { !$0.isLoopback && !$0.isLinkLocal }
    guard let address = addresses.first(where: { $0.family == .v4 }) ?? addresses.first else {
      throw OperationError.namespaceWithoutAddress(name)
    }
    return address
  }
}
