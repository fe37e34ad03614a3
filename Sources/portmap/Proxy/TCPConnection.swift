import CLinux
import Glibc

/// A connection of TCP: each direction is a `TCPFlow`, and one that has ended is passed on as a half-close while the
/// other goes on.
final class TCPConnection: StreamConnection {
  private var up = TCPFlow()
  private var down = TCPFlow()

  override func prepare(_ route: ProxyRoute) -> Bool { queueHeader(route.proxyProtocol) }

  override func note(_ events: UInt32, of side: UInt32) -> Bool {
    if side == Side.client {
      Self.note(events, incoming: &up, outgoing: &down)
    } else {
      Self.note(events, incoming: &down, outgoing: &up)
    }
    return events & Readiness.error != 0
  }

  /// Notes what a socket's events mean for the flow that reads from it and the one that writes to it.
  private static func note(_ events: UInt32, incoming: inout TCPFlow, outgoing: inout TCPFlow) {
    let ending = Readiness.hangup | Readiness.error
    if events & (Readiness.input | Readiness.peerEnded | ending) != 0 { incoming.readable = true }
    if events & (Readiness.peerEnded | ending) != 0 { incoming.readsToTheEnd = true }
    if events & (Readiness.output | ending) != 0 { outgoing.writable = true }
    // Splice stops at an urgent byte for good; recv goes past it.
    if events & Readiness.urgent != 0 { incoming.mayUsePipe = false }
  }

  override func move() {
    let upward = up.pump(from: client.raw, to: backend.raw, relay.buffers)
    let downward = down.pump(from: backend.raw, to: client.raw, relay.buffers)
    tally()
    if upward == .failed || downward == .failed { return fail(down.readError ?? up.writeError ?? 0) }
    if up.hasEnded && down.hasEnded { return finish() }
    if upward == .ended { shutdown(backend.raw, Int32(SHUT_WR)) }
    if downward == .ended { shutdown(client.raw, Int32(SHUT_WR)) }
    if upward == .more || downward == .more { moveAgain() }
  }

  override func moveTheRest() {
    while up.pump(from: client.raw, to: backend.raw, relay.buffers) == .more {}
    while down.pump(from: backend.raw, to: client.raw, relay.buffers) == .more {}
    tally()
  }

  private func tally() {
    account.carriedIn(up.takeCount())
    account.carriedOut(down.takeCount())
  }

  override func discard() {
    up.discard(relay.buffers)
    down.discard(relay.buffers)
  }

  /// False when the client has already gone, so that its address cannot be told.
  private func queueHeader(_ version: ProxyProtocol?) -> Bool {
    guard let version else { return true }
    guard let source = SocketAddress.peer(of: client), let local = try? SocketAddress.local(of: client)
    else { return false }
    up.begin(with: ProxyHeader.encode(version, client: source, server: local), relay.buffers)
    return true
  }
}

extension SocketAddress {
  /// The address that a socket is connected to; nil when it is not connected any more.
  fileprivate static func peer(of socket: Descriptor) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        getpeername(socket.raw, $0, &length) == 0 ? SocketAddress($0) : nil
      }
    }
  }
}
