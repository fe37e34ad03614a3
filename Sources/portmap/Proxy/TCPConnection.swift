import CLinux
import Glibc

// A client's connection and the one to the backend on its behalf.
//
//   connecting  The backend's handshake is under way. Nothing is read from the client: its bytes wait in the kernel,
//               which holds up a client that sends more than it should. Events of the client are noted; an error
//               of either side ends the connection.
//   relaying    Each direction is a TCPFlow; an event is noted in the flows that it concerns and both are pumped.
//               A direction that has ended is passed on as a half-close while the other goes on.
//   closed      The registrations are gone, no event arrives any more; the sockets close with the object.
//
// From connecting and relaying to closed: both directions have ended (ordinary close, FIN), an error or a reset of
// either side (what had arrived before it is delivered as far as it can be at once, then both sides are reset), or
// the server gives up the lease (ordinary close). A backend that cannot be reached resets the client, which is as
// close to a refused connection as an accepted one can come.

final class TCPConnection: EventHandler {
  private enum Stage { case connecting, relaying, closed }

  private enum Side {
    static let client: UInt32 = 0
    static let backend: UInt32 = 1
  }

  /// Each socket is registered once, for everything, and edge-triggered: no call to change that ever follows.
  private static let events =
    Readiness.input | Readiness.output | Readiness.urgent | Readiness.peerEnded | Readiness.edgeTriggered

  let lease: Int
  /// The connection's place in the relay's list.
  var index = 0
  private let client: Descriptor
  private let backend: Descriptor
  private unowned let relay: TCPRelay
  private var clientRegistration: Registration?
  private var backendRegistration: Registration?
  private var stage = Stage.connecting
  private var up: TCPFlow
  private var down: TCPFlow
  private var isRepeating = false

  /// Takes over an accepted client and a fresh socket for the backend.
  init(client: Descriptor, backend: Descriptor, frontend: TCPFrontend, relay: TCPRelay) {
    self.client = client
    self.backend = backend
    self.relay = relay
    lease = frontend.lease
    up = TCPFlow(mayUsePipe: frontend.route.transport == .tcp)
    down = up
  }

  /// Begins to connect. False when there is no way to the backend; the client has then been reset.
  func open(_ route: ProxyRoute) -> Bool {
    guard queueHeader(route.proxyProtocol), connect(to: route.backend) else {
      abort()
      return false
    }
    do throws(SystemError) {
      clientRegistration = try relay.loop.add(client, events: Self.events, handler: self, tag: Side.client)
      backendRegistration = try relay.loop.add(backend, events: Self.events, handler: self, tag: Side.backend)
    } catch {
      abort()
      return false
    }
    return true
  }

  /// Closes both sides at once.
  func close() {
    guard stage != .closed else { return }
    stage = .closed
    if let clientRegistration { relay.loop.remove(clientRegistration, closing: true) }
    if let backendRegistration { relay.loop.remove(backendRegistration, closing: true) }
    up.discard(relay.buffers)
    down.discard(relay.buffers)
  }

  func handle(events: UInt32, tag: UInt32) {
    if events == 0 { isRepeating = false }
    if tag == Side.client {
      Self.note(events, incoming: &up, outgoing: &down)
    } else {
      Self.note(events, incoming: &down, outgoing: &up)
    }
    let isBroken = events & Readiness.error != 0
    if stage == .connecting {
      if isBroken || (tag == Side.backend && events & Readiness.hangup != 0) { return fail() }
      guard tag == Side.backend, events & Readiness.output != 0 else { return }
      stage = .relaying
    }
    move()
    // The error of a side that could not be read to its end, as the other does not take what it sent.
    if isBroken && stage != .closed { fail() }
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

  private func move() {
    let upward = up.pump(from: client.raw, to: backend.raw, relay.buffers)
    let downward = down.pump(from: backend.raw, to: client.raw, relay.buffers)
    if upward == .failed || downward == .failed { return fail() }
    if up.hasEnded && down.hasEnded { return finish() }
    if upward == .ended { shutdown(backend.raw, Int32(SHUT_WR)) }
    if downward == .ended { shutdown(client.raw, Int32(SHUT_WR)) }
    if upward == .more || downward == .more { moveAgain() }
  }

  private func moveAgain() {
    guard !isRepeating, let clientRegistration else { return }
    isRepeating = true
    relay.loop.again(clientRegistration)
  }

  private func finish() {
    close()
    relay.ended(self)
  }

  /// One side is broken: the other gets what had come before, and is then reset like it.
  private func fail() {
    if stage == .relaying {
      while up.pump(from: client.raw, to: backend.raw, relay.buffers) == .more {}
      while down.pump(from: backend.raw, to: client.raw, relay.buffers) == .more {}
    }
    abort()
    relay.ended(self)
  }

  private func abort() {
    client.setAbortOnClose()
    backend.setAbortOnClose()
    close()
  }

  private func connect(to address: SocketAddress) -> Bool {
    let outcome = address.withSockaddr { pointer, length in
      attempt("connect") { Int(Glibc.connect(backend.raw, pointer, length)) }
    }
    switch outcome {
    case .done, .failed(EINPROGRESS): return !isItsOwnPeer(address)
    case .notNow, .failed: return false
    }
  }

  /// Whether the kernel picked, among the ports of this host, the very one that nobody listens on: TCP then connects
  /// the socket to itself, and the client would hear its own words.
  private func isItsOwnPeer(_ address: SocketAddress) -> Bool {
    address.ip.isLoopback && (try? SocketAddress.local(of: backend)) == address
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
