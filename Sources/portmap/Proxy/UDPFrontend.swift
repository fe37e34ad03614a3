/// A udp socket that is served. There is one a port, so it holds no more than an idle one needs.
final class UDPFrontend: EventHandler {
  let socket: Descriptor
  let route: ProxyRoute
  let group: Int
  /// The number that tells its clients from those of other frontends.
  let number: UInt32
  /// The first queue of its clients' time limit in the table of clients.
  let firstQueue: Int
  private unowned let relay: UDPRelay
  private var registration: Registration?

  init(_ socket: Descriptor, route: ProxyRoute, group: Int, number: UInt32, firstQueue: Int, relay: UDPRelay)
  {
    self.socket = socket
    self.route = route
    self.group = group
    self.number = number
    self.firstQueue = firstQueue
    self.relay = relay
  }

  /// Watches for datagrams. The registration is level-triggered: what one turn leaves is reported in the next.
  func start() throws(SystemError) {
    registration = try relay.loop.add(socket, events: Readiness.input, handler: self)
  }

  /// Leaves datagrams in the kernel from now on.
  func stop() {
    // Not with `closing`: others may hold copies of the socket.
    if let registration { relay.loop.remove(registration) }
    registration = nil
  }

  func handle(events: UInt32, tag: UInt32) {
    relay.receive(from: self)
  }
}
