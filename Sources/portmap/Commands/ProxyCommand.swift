import CLinux
import Glibc

/// `portmap proxy`: forwards in the foreground until SIGTERM or SIGINT; no state, no rules, no root.
enum ProxyCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let options = try ProxyOptions(arguments, context)
    try Failure.wrapping("forward") {
      let loop = try EventLoop()
      // It has to be there before a port is taken, which is for a moment only where it is not.
      let namespace = try options.into.map { name throws(NamespaceError) in try OpenedNamespace(name) }
      let ending = try ProxyEnding(loop, withParent: false)
      let (frontends, pairs) = try options.open()
      if let namespace { try namespace.enter() }
      let server = ProxyServer(loop: loop)
      for (socket, route) in frontends {
        try DropFilter.detach(from: socket)
        try server.serve(socket, route: route, group: 0)
      }
      if context.json {
        try Output.json(pairs.map { MappingDocument($0, into: options.into) })
      } else if context.quiet {
        try Output.lines(pairs.map { "\($0.hostPorts)" })
      } else {
        try Output.lines(pairs.map(\.description))
      }
      try syscall("capset") { clinux_drop_capabilities() }
      try Confinement.enter(Set(frontends.map(\.1.backendSocket)), DebugLog(of: "proxy"))
      try ending.wait()
      server.closeAll()
    }
  }
}

/// The options and operands of `proxy`.
private struct ProxyOptions {
  private struct Endpoint {
    let ip: IPAddress
    let ports: PortRange
  }

  private let pairs: [(frontend: ReservationSpec, backend: Endpoint)]
  /// With sockets from the environment: where each of them leads.
  private let backends: [Endpoint]
  private let inherited: Int
  private let proxyProtocol: ProxyProtocol?
  private let udpTimeout: Int
  /// The network namespace that the backends are in.
  let into: NamespaceName?

  init(_ arguments: ParsedArguments, _ context: Context) throws {
    proxyProtocol = try arguments.proxyProtocol()
    into = try arguments.namespace()
    let timeout = arguments.value("--udp-timeout") ?? "90"
    guard let seconds = PortRange.port(timeout[...]), seconds > 0 else {
      throw Failure.usage("invalid time '\(timeout)' for --udp-timeout: expected seconds, 1-65535")
    }
    udpTimeout = Int(seconds)
    inherited = Self.inheritedSockets(context)
    let operands = arguments.operands
    if inherited > 0 {
      backends = try operands.map(Self.endpoint)
      pairs = []
      guard operands.count == inherited else {
        throw Failure.usage("there are \(inherited) sockets (LISTEN_FDS): expected as many backends")
      }
      if let range = backends.firstIndex(where: { !$0.ports.isSingle }) {
        throw Failure.usage("'\(operands[range])': a socket that was passed on leads to one port")
      }
      return
    }
    backends = []
    guard !operands.isEmpty, operands.count % 2 == 0 else {
      throw Failure.usage(
        "proxy needs pairs of a port and a backend",
        hint: "portmap proxy 8080 192.0.2.7:80"
      )
    }
    pairs = try stride(from: 0, to: operands.count, by: 2).map { index in
      let frontend = try ReservationSpec(operands[index])
      let backend = try Self.endpoint(operands[index + 1])
      let width = frontend.ports?.count ?? backend.ports.count
      guard width == backend.ports.count else {
        throw Failure.usage(
          "'\(operands[index])' and '\(operands[index + 1])' have different numbers of ports"
        )
      }
      return (frontend, backend)
    }
    for (index, pair) in pairs.enumerated() {
      if let other = pairs[..<index].firstIndex(where: { $0.frontend.overlaps(pair.frontend) }) {
        throw Failure.usage("'\(operands[other * 2])' and '\(operands[index * 2])' need the same host port")
      }
    }
    if proxyProtocol != nil, pairs.contains(where: { $0.frontend.transports != .one(.tcp) }) {
      throw Failure.usage("--proxy-protocol is for tcp alone")
    }
  }

  /// How many sockets systemd, or whoever follows its manner, has opened for this process (sd_listen_fds(3)).
  private static func inheritedSockets(_ context: Context) -> Int {
    guard let pid = context.variable("LISTEN_PID"), Int32(pid) == getpid(),
      let count = context.variable("LISTEN_FDS").flatMap({ Int($0) }), count > 0
    else { return 0 }
    return count
  }

  /// Reads `192.0.2.7:80`, `[2001:db8::7]:80`, or the same with a range of ports.
  private static func endpoint(_ text: String) throws(Failure) -> Endpoint {
    guard let colon = text.lastIndex(of: ":"), let ports = PortRange(text[text.index(after: colon)...]) else {
      throw .usage("invalid backend '\(text)': expected ADDRESS:PORT with a port 1-65535, or a range of them")
    }
    let address = text[..<colon]
    let isBracketed = address.first == "[" && address.last == "]"
    guard let ip = SpecText.backendAddress(isBracketed ? address.dropFirst().dropLast() : address),
      (ip.family == .v6) == isBracketed
    else {
      throw .usage(
        "invalid backend '\(text)': expected a unicast address, an IPv6 one in brackets, and a port"
      )
    }
    return Endpoint(ip: ip, ports: ports)
  }

  /// Opens all frontends, or none.
  func open() throws -> (frontends: [(Descriptor, ProxyRoute)], shown: [PortPair]) {
    try inherited > 0 ? adopt() : reserve()
  }

  private func reserve() throws -> (frontends: [(Descriptor, ProxyRoute)], shown: [PortPair]) {
    try DescriptorLimit.makeRoom(for: pairs.reduce(0) { $0 + $1.backend.ports.count * 2 })
    var allocator = PortAllocator(
      ledger: PortLedger(mappings: [], reservations: []),
      reservedPorts: LocalPorts.reserved(),
      isForTaking: { _ in false },
      takeOver: { throw AllocationError.given(port: "\($1)", owner: $0) },
      cursors: [:]
    )
    let interfaces = try Interfaces.current()
    for (frontend, backend) in pairs {
      try refuseOwnBackend(frontend.hostAddress, frontend.ports, backend, interfaces)
    }
    var frontends: [(Descriptor, ProxyRoute)] = []
    var shown: [PortPair] = []
    for (frontend, backend) in pairs {
      let choice: PortRequest.Choice = frontend.ports.map { .exactly($0) } ?? .next(in: .automatic)
      let held = try allocator.hold(
        PortRequest(
          choice: choice,
          width: backend.ports.count,
          hosts: [frontend.hostAddress],
          transports: frontend.transports.transports,
          ownBackend: isSame(frontend.hostAddress, backend, interfaces) ? backend.ports : nil
        )
      )
      for (host, transport, sockets) in held.sockets {
        for (socket, port) in zip(sockets, backend.ports.ports) {
          frontends.append((socket, route(transport, SocketAddress(backend.ip, port: port))))
        }
        shown.append(
          PortPair(
            transport: transport,
            hostIP: host,
            hostPorts: held.ports,
            backendIP: backend.ip,
            backendPorts: backend.ports
          )
        )
      }
    }
    return (frontends, shown)
  }

  /// Refuses ports that would lead to themselves: the first client would connect without end.
  private func refuseOwnBackend(
    _ host: HostAddress,
    _ ports: PortRange?,
    _ backend: Endpoint,
    _ interfaces: Interfaces
  ) throws(Failure) {
    guard ports == backend.ports, isSame(host, backend, interfaces) else { return }
    throw .usage("\(backend.ip) port \(backend.ports) would be its own backend")
  }

  /// Whether a backend is the host itself.
  private func isSame(_ host: HostAddress, _ backend: Endpoint, _ interfaces: Interfaces) -> Bool {
    into == nil && interfaces.isSame(host, backend.ip)
  }

  /// Takes the sockets from descriptor 3 on.
  private func adopt() throws -> (frontends: [(Descriptor, ProxyRoute)], shown: [PortPair]) {
    let interfaces = try Interfaces.current()
    var frontends: [(Descriptor, ProxyRoute)] = []
    var shown: [PortPair] = []
    for index in 0..<inherited {
      let raw = Int32(3 + index)
      let backend = backends[index]
      guard fcntl(raw, F_SETFD, FD_CLOEXEC) == 0 else {
        throw Failure(.failed, "LISTEN_FDS says \(inherited), but descriptor \(raw) is not open")
      }
      let socket = Descriptor(owning: raw)
      let transport = try Self.transport(of: socket)
      if proxyProtocol != nil, transport != .tcp { throw Failure.usage("--proxy-protocol is for tcp alone") }
      guard let local = try SocketAddress.local(of: socket) else {
        throw Failure(.failed, "descriptor \(raw) is no socket of an IP protocol")
      }
      let host: HostAddress = local.ip == .anyV6 ? .every : .one(local.ip)
      let port = PortRange(first: local.port, count: 1) ?? .unknown
      try refuseOwnBackend(host, port, backend, interfaces)
      frontends.append((socket, route(transport, SocketAddress(backend.ip, port: backend.ports.first))))
      shown.append(
        PortPair(
          transport: transport,
          hostIP: host,
          hostPorts: port,
          backendIP: backend.ip,
          backendPorts: backend.ports
        )
      )
    }
    return (frontends, shown)
  }

  private static func transport(of socket: Descriptor) throws -> Transport {
    let number = try socket.option(SocketLevel.socket, SO_PROTOCOL, into: Int32(0))
    guard let transport = Transport(number: number) else {
      throw Failure(.failed, "descriptor \(socket.raw) is no tcp, udp or sctp socket")
    }
    return transport
  }

  private func route(_ transport: Transport, _ backend: SocketAddress) -> ProxyRoute {
    ProxyRoute(transport: transport, backend: backend, proxyProtocol: proxyProtocol, udpTimeout: udpTimeout)
  }
}
