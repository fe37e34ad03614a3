import Glibc

/// The userland proxy: serves listening and udp sockets, each with its own backend, on an event loop that others
/// use as well. It keeps the sockets; their callers should not, or `release` cannot close them.
///
/// A group is a number that the caller gives to the sockets that are to be released together.
final class ProxyServer {
  private let limits: ProxyLimits
  private let streams: StreamRelay
  private let datagrams: UDPRelay
  private let accounts = TrafficAccounts()
  private var streamFrontends: [StreamFrontend] = []
  private var udpFrontends: [UDPFrontend] = []

  init(loop: EventLoop, limits: ProxyLimits = .current) {
    self.limits = limits
    // Splice into a socket whose peer is gone raises SIGPIPE, and has no flag to say otherwise.
    signal(SIGPIPE, SIG_IGN)
    let streams = StreamRelay(loop: loop, accounts: accounts)
    let datagrams = UDPRelay(loop: loop, accounts: accounts)
    self.streams = streams
    self.datagrams = datagrams
    loop.onTurnEnd {
      datagrams.sendAnswers()
      streams.endTurn()
    }
  }

  /// How many sockets are being served.
  var socketCount: Int { streamFrontends.count + udpFrontends.count }

  /// Begins to serve a socket that is bound, and listening unless it is a udp one. Connections and datagrams that
  /// wait there already are served too.
  func serve(_ socket: Descriptor, route: ProxyRoute, group: Int) throws(SystemError) {
    if route.transport.isConnectionOriented {
      let frontend = StreamFrontend(socket, route: route, group: group, relay: streams)
      try streams.serve(frontend)
      streamFrontends.append(frontend)
    } else {
      udpFrontends.append(try datagrams.serve(socket, route: route, group: group))
    }
    shareDescriptors()
  }

  /// Closes the sockets of a group, its connections and its clients at once.
  func release(group: Int) {
    close { $0 == group }
  }

  /// The sockets that are served for a group, in the order in which they came.
  func sockets(ofGroup group: Int) -> [Descriptor] {
    streamFrontends.filter { $0.group == group }.map(\.socket)
      + udpFrontends.filter { $0.group == group }.map(\.socket)
  }

  /// What a group has carried; nil where nobody has used it.
  func count(ofGroup group: Int) -> ProxyCount? { accounts.count(of: group) }

  /// Closes everything.
  func closeAll() {
    close { _ in true }
  }

  private func close(where matches: (Int) -> Bool) {
    for frontend in streamFrontends where matches(frontend.group) { frontend.pause() }
    for frontend in udpFrontends where matches(frontend.group) { frontend.stop() }
    streamFrontends.removeAll { matches($0.group) }
    udpFrontends.removeAll { matches($0.group) }
    streams.close(where: matches)
    datagrams.close(where: matches)
    accounts.remove(where: matches)
    shareDescriptors()
  }

  /// Divides the descriptors that the served sockets leave. Where both kinds are served, half of them are for udp
  /// clients at the most: anybody can make up sources, and connections must still get through.
  private func shareDescriptors() {
    let budget = limits.budget(sockets: socketCount)
    let forUDP = streamFrontends.isEmpty ? budget : budget / 2
    datagrams.limit = min(limits.udpClients, forUDP)
    streams.limit = min(limits.connections, (budget - (udpFrontends.isEmpty ? 0 : datagrams.limit)) / 2)
  }
}
