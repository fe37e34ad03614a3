import CLinux
import Glibc

/// `portmap map`: reserves the host ports, installs the rules, starts the proxy, records the mappings.
enum MapCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let options = try MapOptions(arguments, context)
    let task = "map \(arguments.operands.prefix(3).joined(separator: " "))"
    try Failure.wrapping(task) {
      if let command = arguments.command, !context.dryRun { return try run(command, options, context) }
      let workspace = try Workspace.open(context)
      let draft = Draft(workspace)
      let mappings = try MapPlanner(options: options, workspace: workspace, draft: draft).plan()
      if context.dryRun {
        return context.json
          ? try report(mappings, draft.next, context) : try Output.lines(draft.preview.lines)
      }
      try draft.apply { state in try report(mappings, state, context) }
    }
  }

  /// Maps for as long as a command runs, and ends as it does.
  private static func run(_ command: [String], _ options: MapOptions, _ context: Context) throws {
    let status = try Scoped(command: command, context: context).run { process in
      let workspace = try Workspace.open(context)
      let draft = Draft(workspace)
      draft.scope = process
      let mappings = try MapPlanner(options: options, workspace: workspace, draft: draft).plan()
      try draft.apply { _ in }
      workspace.close()
      var match = Selection()
      match.mappings = Set(mappings.map(\.id))
      return match
    }
    throw CommandEnded(status: status)
  }

  private static func report(_ mappings: [Mapping], _ state: State, _ context: Context) throws {
    if context.json {
      try Output.json(mappings.map { MappingDocument($0, state) })
    } else if context.quiet {
      try Output.lines(mappings.map { "\($0.hostPorts)" })
    } else {
      try Output.lines(mappings.map(\.description))
    }
  }
}

/// Turns specs into mappings whose ports are held and whose rules are known.
struct MapPlanner {
  let options: MapOptions
  let workspace: Workspace
  let draft: Draft

  /// Adds to the draft all that the call needs.
  ///
  /// - Returns: The mappings in the order of the specs.
  func plan() throws -> [Mapping] {
    let interfaces = try Interfaces.current()
    let backend = BackendResolver(workspace: workspace, draft: draft)
    if options.to == nil { try requireNetAdmin() }
    let ip = try backend.resolve(options.to, bridge: options.bridge).ip
    let hosts = options.specs.flatMap(options.hosts)
    if hosts.contains(where: { needsRules($0, ip) }) { try requireNetAdmin() }
    try check(ip, interfaces)
    try DescriptorLimit.makeRoom(
      for: options.specs.reduce(0) { $0 + $1.width * $1.transports.transports.count }
    )

    var mappings: [Int: [Mapping]] = [:]
    var allocator = PortAllocator(
      ledger: PortLedger(mappings: workspace.state.mappings, reservations: workspace.state.reservations),
      reservedPorts: PortAllocator.reservedPorts(),
      takeOver: takeOver,
      cursors: workspace.state.cursors,
      isPreview: workspace.isPreview
    )
    // Ports that somebody named come first: the others must not be chosen from among them.
    for pass in [true, false] {
      for (index, spec) in options.specs.enumerated() where spec.frontend.isFixed == pass {
        let held = try allocator.hold(request(spec))
        mappings[index] = try held.sockets.map { host, transport, sockets in
          try add(host, transport, held.ports, spec, ip, sockets, interfaces)
        }
        release(held.taken)
      }
    }
    draft.next.cursors = allocator.cursors
    let made = mappings.keys.sorted().flatMap { mappings[$0] ?? [] }
    draft.next.mappings += made
    return made
  }

  private var isProxyOnly: Bool { options.mode == .proxyOnly }

  /// Whether packets from outside may come that rules have to lead on: not to a loopback address, nor for a backend
  /// that only this host can reach.
  private func needsRules(_ host: HostAddress, _ backend: IPAddress) -> Bool {
    !isProxyOnly && !host.isLoopback && !backend.isLoopback
  }

  private func requireNetAdmin() throws(Failure) {
    guard !workspace.isPreview else { return }
    let hint = "run it as root, or use --proxy-only with --to, which touches no rule"
    try NetAdmin.require(for: "mapping with rules", hint: hint)
  }

  private func check(_ backend: IPAddress, _ interfaces: Interfaces) throws(Failure) {
    if !isProxyOnly, !backend.isLoopback, interfaces.isLocal(backend) {
      throw Failure(
        .failed,
        "\(backend) is this host's own address, not a backend's",
        hint: "a service of the host itself is reached with --to 127.0.0.1 or --proxy-only"
      )
    }
    if let subnet = interfaces.subnet(of: backend), subnet.prefixLength < 31, backend.family == .v4,
      [subnet.network, subnet.last].contains(backend)
    {
      throw Failure(
        .failed,
        "\(backend) is no backend's address: it means the whole of \(subnet.networkDescription)"
      )
    }
    for spec in options.specs {
      for host in options.hosts(of: spec) {
        if let address = host.address, !address.isUnspecified, !interfaces.isLocal(address) {
          throw Failure(.failed, "\(address) is no address of this host")
        }
        let isSame = host.overlaps(.one(backend)) && interfaces.isLocal(backend)
        if isSame, case .fixed(let ports) = spec.frontend, ports == spec.backend {
          throw .usage("\(backend) port \(spec.backend) would be its own backend")
        }
      }
    }
  }

  private func request(_ spec: PortSpec) -> PortRequest {
    let choice: PortRequest.Choice =
      switch spec.frontend {
      case .allocated: .next(in: options.range)
      case .fixed(let ports): .exactly(ports)
      case .anyOf(let range): .lowest(of: range)
      }
    return PortRequest(
      choice: choice,
      width: spec.width,
      hosts: options.hosts(of: spec),
      transports: spec.transports.transports
    )
  }

  /// Records one mapping: its lease, its rules, what it shares, and its flows.
  private func add(
    _ host: HostAddress,
    _ transport: Transport,
    _ ports: PortRange,
    _ spec: PortSpec,
    _ ip: IPAddress,
    _ sockets: [Descriptor],
    _ interfaces: Interfaces
  ) throws -> Mapping {
    let needsRules = needsRules(host, ip)
    let nat = needsRules && host.families.contains(ip.family)
    let proxy = options.mode != .noProxy
    guard nat || proxy else {
      throw Failure.usage(
        "\(host) and \(ip) are of different families: that needs the proxy, which --no-proxy leaves out"
      )
    }
    var mapping = Mapping(
      id: draft.newID(),
      transport: transport,
      hostIP: host,
      hostPort: ports.first,
      hostPortEnd: ports.last,
      backendIP: ip,
      backendPort: spec.backend.first,
      backendPortEnd: spec.backend.last,
      nat: nat,
      proxy: proxy,
      masquerade: options.masquerade && nat,
      proxyProtocol: options.proxyProtocol,
      holder: draft.holderID,
      scope: draft.scope
    )
    if needsRules { try addRules(&mapping, interfaces) }
    draft.leases.append((mapping.lease, sockets))
    return mapping
  }

  private func addRules(_ mapping: inout Mapping, _ interfaces: Interfaces) throws {
    let firewall = try workspace.firewall()
    let hasIPv6 = firewall.serves(.v6)
    if !hasIPv6, mapping.backendIP.family == .v6 {
      throw Failure(.failed, "\(mapping.backendIP): this host cannot make rules for IPv6 (ip6tables-restore)")
    }
    let layout = workspace.layout
    let wanted = layout.rules(for: mapping)
    mapping.rules = wanted.filter { hasIPv6 || $0.family == .v4 }
    if mapping.rules.count < wanted.count, !draft.next.saidNoIPv6 {
      draft.next.saidNoIPv6 = true
      workspace.warn("warning: no rules for IPv6 here (no ip6tables, or no IPv6): mappings are for IPv4")
    }
    mapping.serial = draft.serial
    for key in mapping.sharedKeys where !draft.next.shared.contains(where: { $0.key == key }) {
      let rules = layout.shared(key, mapping.backendIP, subnet(of: mapping.backendIP, interfaces))
      draft.next.shared.append(SharedRules(key: key, rules: rules, serial: draft.serial))
    }
    if mapping.nat { draft.forwarding.insert(mapping.backendIP.family) }
    draft.flows.append(mapping.flows)
  }

  /// The network of a backend: of an interface that is there, or of the bridge that is about to be.
  private func subnet(of backend: IPAddress, _ interfaces: Interfaces) -> Subnet? {
    interfaces.subnet(of: backend) ?? draft.next.bridges.first { $0.subnet.contains(backend) }?.subnet
  }

  /// Fetches a reserved port's socket from the process that holds it, which keeps its own until this command has
  /// committed.
  private func takeOver(_ reservation: Reservation) throws -> Descriptor {
    let client = try HolderClient.connect(to: reservation.holder, in: workspace.folder.descriptor)
    guard let socket = try client?.take(reservation.id).first else {
      throw HolderError(id: reservation.holder, problem: "it is gone, and \(reservation.target) with it")
    }
    if reservation.lent, try !PortSocket.takeBack(socket) {
      throw AllocationError.inUse(port: reservation.target, transport: .tcp, number: reservation.port)
    }
    return socket
  }

  private func release(_ reservations: [Reservation]) {
    draft.taken += reservations.map { HoldingReference(holder: $0.holder, lease: $0.id) }
    let ids = Set(reservations.map(\.id))
    draft.next.reservations.removeAll { ids.contains($0.id) }
  }
}

extension PortSpec.Frontend {
  fileprivate var isFixed: Bool {
    if case .fixed = self { true } else { false }
  }
}
