import Glibc

/// A listening socket that is served. There is one a port, so it holds no more than an idle one needs.
final class StreamFrontend: EventHandler {
  let socket: Descriptor
  let route: ProxyRoute
  let group: Int
  private unowned let relay: StreamRelay
  private var registration: Registration?

  init(_ socket: Descriptor, route: ProxyRoute, group: Int, relay: StreamRelay) {
    self.socket = socket
    self.route = route
    self.group = group
    self.relay = relay
  }

  /// Watches for connections. The registration is level-triggered: what one turn leaves is reported in the next.
  func resume() throws(SystemError) {
    guard registration == nil else { return }
    registration = try relay.loop.add(socket, events: Readiness.input, handler: self)
  }

  /// Leaves new connections in the kernel's queue from now on.
  func pause() {
    // Not with `closing`: others may hold copies of the socket.
    if let registration { relay.loop.remove(registration) }
    registration = nil
  }

  func handle(events: UInt32, tag: UInt32) {
    relay.accept(from: self)
  }
}
