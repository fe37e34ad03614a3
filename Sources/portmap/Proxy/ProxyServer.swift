import Glibc

/// The userland proxy: serves listening and udp sockets, each with its own backend, on an event loop that others
/// use as well. It keeps the sockets; their callers should not, or `release` cannot close them.
///
/// A group is the caller's number for sockets that are released together.
final class ProxyServer {
  private let limits: ProxyLimits
  private let tcp: StreamRelay
  private let udp: UDPRelay
  private var tcpFrontends: [StreamFrontend] = []
  private var udpFrontends: [UDPFrontend] = []

  init(loop: EventLoop, limits: ProxyLimits = .current) {
    self.limits = limits
    // Splice into a socket whose peer is gone raises SIGPIPE, and has no flag to say otherwise.
    signal(SIGPIPE, SIG_IGN)
    let tcp = StreamRelay(loop: loop)
    let udp = UDPRelay(loop: loop)
    self.tcp = tcp
    self.udp = udp
    loop.onTurnEnd {
      udp.sendAnswers()
      tcp.endTurn()
    }
  }

  /// How many sockets are being served.
  var socketCount: Int { tcpFrontends.count + udpFrontends.count }

  /// Begins to serve a socket that is bound, and listening unless it is a udp one. Connections and datagrams that
  /// wait there already are served too.
  func serve(_ socket: Descriptor, route: ProxyRoute, group: Int) throws(SystemError) {
    if route.transport.isConnectionOriented {
      let frontend = StreamFrontend(socket, route: route, group: group, relay: tcp)
      try tcp.serve(frontend)
      tcpFrontends.append(frontend)
    } else {
      udpFrontends.append(try udp.serve(socket, route: route, group: group))
    }
    shareDescriptors()
  }

  /// Closes the sockets of a group, its connections and its clients at once.
  func release(group: Int) {
    close { $0 == group }
  }

  /// Closes everything.
  func closeAll() {
    close { _ in true }
  }

  private func close(where matches: (Int) -> Bool) {
    for frontend in tcpFrontends where matches(frontend.group) { frontend.pause() }
    for frontend in udpFrontends where matches(frontend.group) { frontend.stop() }
    tcpFrontends.removeAll { matches($0.group) }
    udpFrontends.removeAll { matches($0.group) }
    tcp.close(where: matches)
    udp.close(where: matches)
    shareDescriptors()
  }

  /// Divides the descriptors that the served sockets leave. Where both kinds are served, half of them are for udp
  /// clients at the most: anybody can make up sources, and connections must still get through.
  private func shareDescriptors() {
    let budget = limits.budget(sockets: socketCount)
    let forUDP = tcpFrontends.isEmpty ? budget : budget / 2
    udp.limit = min(limits.udpClients, forUDP)
    tcp.limit = min(limits.connections, (budget - (udpFrontends.isEmpty ? 0 : udp.limit)) / 2)
  }
}
