import CLinux
import Glibc

/// Sockets that hold ports.
///
/// The only viable way to allocate a port is to bind it and, where the transport listens, to listen on it: bound with
/// SO_REUSEADDR alone it could still be taken. A classic BPF filter that drops everything is set *before* the bind, so
/// that nothing is answered and nothing queues up until the filter is detached (moby's OS port allocator of 2025).
enum PortSocket {
  /// Binds a port and holds it behind the drop filter.
  ///
  /// `HostAddress.every` is one dual-stack socket on `::`, which keeps everybody else off every address of both
  /// families; `0.0.0.0` where the kernel has no IPv6. A loopback address is bound to the device `lo` as well:
  /// nothing on the network reaches it even where `route_localnet` is set.
  ///
  /// - Throws: SystemError: EADDRINUSE where somebody else has it, EACCES for a low port, EADDRNOTAVAIL for an
  ///   address that the host does not have, EPROTONOSUPPORT for SCTP without kernel support.
  static func reserve(_ transport: Transport, _ host: HostAddress, _ port: UInt16) throws(SystemError)
    -> Descriptor
  {
    let name = "\(host.prefix)\(port)\(transport.suffix)"
    guard let address = host.address else {
      do {
        let every = try make(transport, .v6, onlyV6: false, name)
        return try bound(every, transport, SocketAddress(.anyV6, port: port), name)
      } catch  where error.errno == EAFNOSUPPORT {
        let every = try make(transport, .v4, onlyV6: false, name)
        return try bound(every, transport, SocketAddress(.anyV4, port: port), name)
      }
    }
    let socket = try make(transport, address.family, onlyV6: address.family == .v6, name)
    if address.isLoopback { try socket.bindToDevice("lo", about: name) }
    return try bound(socket, transport, SocketAddress(address, port: port), name)
  }

  /// Listens again on a port that was lent; false while the server that it was lent to does.
  static func takeBack(_ socket: Descriptor) throws(SystemError) -> Bool {
    if listen(socket.raw, backlog) == 0 { return true }
    guard errno == EADDRINUSE else { throw SystemError(call: "listen", errno: errno) }
    return false
  }

  /// Reserves all ports of a holding, as its reservation or mapping wants them.
  ///
  /// - Returns: A socket a port, and the announcement of a lent one.
  static func reserveAll(_ holding: Holding) throws(SystemError) -> [Descriptor] {
    var sockets: [Descriptor] = []
    for port in holding.ports.ports {
      let socket = try reserve(holding.transport, holding.hostIP, port)
      sockets.append(socket)
      if holding.isLent { sockets.append(try LentPort(host: holding.hostIP, port: port).lend(socket)) }
    }
    let taken = LentPort.all().first { lent in
      !holding.isLent && holding.transport == .tcp && holding.ports.contains(lent.port)
        && lent.host.overlaps(holding.hostIP)
    }
    if taken != nil { throw SystemError(call: "bind", errno: EADDRINUSE, subject: "\(holding)") }
    return sockets
  }

  /// What is wrong with the socket of a reservation, on which nobody is to be answered; nil where nothing is.
  static func flaw(of socket: Descriptor, _ reservation: Reservation) -> SocketFlaw? {
    if reservation.transport.isConnectionOriented, isListening(socket) == reservation.isLent {
      return reservation.isLent ? .listening : .notListening
    }
    return DropFilter.isAttached(to: socket) ? nil : .answering
  }

  /// Puts the socket of a reservation back behind its filter; a lent one stops listening, any other listens.
  static func restore(_ socket: Descriptor, _ reservation: Reservation) throws(SystemError) {
    guard let flaw = flaw(of: socket, reservation) else { return }
    let family: IPAddress.Family = try SocketAddress.local(of: socket)?.ip.family ?? .v6
    if !DropFilter.isAttached(to: socket) { try DropFilter.attach(to: socket, family) }
    switch flaw {
    case .listening: try syscall("shutdown", about: "\(reservation)") { shutdown(socket.raw, Int32(SHUT_RD)) }
    case .notListening: try syscall("listen", about: "\(reservation)") { listen(socket.raw, backlog) }
    case .answering: if reservation.transport.isConnectionOriented { hangUp(on: socket) }
    }
  }

  /// Puts a socket that was served back behind its filter.
  static func silence(_ socket: Descriptor, _ transport: Transport) throws(SystemError) {
    guard !DropFilter.isAttached(to: socket) else { return }
    try DropFilter.attach(to: socket, try SocketAddress.local(of: socket)?.ip.family ?? .v6)
    if transport.isConnectionOriented { hangUp(on: socket) }
  }

  /// Closes connections that were made while a socket had no filter, and that nobody has accepted.
  private static func hangUp(on socket: Descriptor) {
    while let raw = try? nonblocking("accept", { accept(socket.raw, nil, nil) }) { close(raw) }
  }

  private static func isListening(_ socket: Descriptor) -> Bool {
    (try? socket.option(SocketLevel.socket, SO_ACCEPTCONN, into: Int32(0))).map { $0 != 0 } ?? false
  }

  private static func make(
    _ transport: Transport,
    _ family: IPAddress.Family,
    onlyV6: Bool,
    _ name: String
  ) throws(SystemError) -> Descriptor {
    let socket = try Descriptor.socket(transport, family, about: name)
    if family == .v6 {
      try socket.requireOption(SocketLevel.ipv6, IPV6_V6ONLY, onlyV6 ? 1 : 0, about: name)
    }
    switch transport {
    case .tcp:
      // Without it a port with connections in TIME_WAIT could not be had.
      try socket.requireOption(SocketLevel.socket, SO_REUSEADDR, 1, about: name)
    case .udp:
      // Never SO_REUSEADDR: others who set it too would share the port. The proxy must know where a client wrote to.
      if family == .v4 {
        try socket.requireOption(SocketLevel.ip, IP_PKTINFO, 1, about: name)
      } else {
        try socket.requireOption(SocketLevel.ipv6, IPV6_RECVPKTINFO, 1, about: name)
      }
      // Room for bursts of datagrams. Root may have more than net.core.rmem_max, and only now: the process that serves
      // the socket is root no longer.
      socket.setBufferSizes(receive: datagramBuffer, send: datagramBuffer)
    case .sctp: break
    }
    return socket
  }

  private static func bound(
    _ socket: Descriptor,
    _ transport: Transport,
    _ address: SocketAddress,
    _ name: String
  ) throws(SystemError) -> Descriptor {
    try DropFilter.attach(to: socket, address.ip.family)
    try syscall("bind", about: name) { address.withSockaddr { bind(socket.raw, $0, $1) } }
    if transport.isConnectionOriented {
      // Two sockets with SO_REUSEADDR can both be bound; the second that listens is told EADDRINUSE.
      try syscall("listen", about: name) { listen(socket.raw, backlog) }
    }
    return socket
  }

  private static let datagramBuffer: Int32 = 4 << 20

  /// As many waiting connections as the administrator allows.
  private static let backlog = Files.word(of: "/proc/sys/net/core/somaxconn").flatMap { Int32($0) } ?? 4096
}

/// What is wrong with the socket of a reserved port.
enum SocketFlaw: Equatable {
  /// It has no filter: handshakes complete.
  case answering
  /// It listens although it is lent, so that its server cannot.
  case listening
  /// It does not listen, so that somebody else could.
  case notListening
}
