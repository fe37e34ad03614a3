import CLinux
import Glibc

// A client's connection and the one to the backend on its behalf: what TCP and SCTP have in common. A subclass moves
// what they carry.
//
//   connecting  The backend's handshake is under way. Nothing is read from the client: its bytes wait in the kernel,
//               which holds up a client that sends more than it should. Events of the client are noted; an error
//               of either side ends the connection.
//   relaying    Each direction is a flow of the subclass; an event is noted in the flows that it concerns and both
//               are pumped.
//   closed      The registrations are gone, no event arrives any more; the sockets close with the object.
//
// From connecting and relaying to closed: both directions have ended (ordinary close), an error or a reset of
// either side (what had arrived before it is delivered as far as it can be at once, then both sides are reset), or
// the server gives up the group (ordinary close). A backend that cannot be reached resets the client, which is as
// close to a refused connection as an accepted one can come.

/// What came of moving what one direction of a connection could.
enum FlowProgress: Equatable {
  /// Nothing more can be done until epoll reports something.
  case waiting
  /// The budget is used up: the flow is to be pumped again.
  case more
  /// All is written and the source has ended; reported once.
  case ended
  /// The source or the destination is broken.
  case failed
}

class StreamConnection: EventHandler {
  private enum Stage { case connecting, relaying, closed }

  enum Side {
    static let client: UInt32 = 0
    static let backend: UInt32 = 1
  }

  /// Each socket is registered once, for everything, and edge-triggered: no call to change that ever follows.
  private static let events =
    Readiness.input | Readiness.output | Readiness.urgent | Readiness.peerEnded | Readiness.edgeTriggered

  final let group: Int
  /// What has gone through its group.
  final let account: TrafficAccount
  /// The connection's place in the relay's list.
  final var index = 0
  final let client: Descriptor
  final let backend: Descriptor
  final unowned let relay: StreamRelay
  private var clientRegistration: Registration?
  private var backendRegistration: Registration?
  private var stage = Stage.connecting
  private var isRepeating = false

  /// Takes over an accepted client and a fresh socket for the backend.
  init(client: Descriptor, backend: Descriptor, frontend: StreamFrontend, relay: StreamRelay) {
    self.client = client
    self.backend = backend
    self.relay = relay
    group = frontend.group
    account = relay.accounts[frontend.group]
    account.begin()
  }

  /// What is to be done before the backend's socket connects; false gives the connection up.
  func prepare(_ route: ProxyRoute) -> Bool { true }

  /// Notes what the events of one side mean for the flows. True when that side is broken.
  func note(_ events: UInt32, of side: UInt32) -> Bool { events & Readiness.error != 0 }

  /// Moves what can be moved, and calls `moveAgain`, `finish` or `fail` when it is time to.
  func move() {}

  /// Moves everything that can be moved without waiting, as this is the end.
  func moveTheRest() {}

  /// Frees what is under way.
  func discard() {}

  /// Begins to connect. False when there is no way to the backend; the client has then been reset.
  final func open(_ route: ProxyRoute) -> Bool {
    guard prepare(route) else {
      abort()
      return false
    }
    do throws(SystemError) {
      try connect(to: route.backend)
      clientRegistration = try relay.loop.add(client, events: Self.events, handler: self, tag: Side.client)
      backendRegistration = try relay.loop.add(backend, events: Self.events, handler: self, tag: Side.backend)
    } catch {
      account.fail(error.errno)
      abort()
      return false
    }
    return true
  }

  /// Closes both sides at once.
  final func close() {
    guard stage != .closed else { return }
    stage = .closed
    account.end()
    if let clientRegistration { relay.loop.remove(clientRegistration, closing: true) }
    if let backendRegistration { relay.loop.remove(backendRegistration, closing: true) }
    discard()
  }

  final func handle(events: UInt32, tag: UInt32) {
    if events == 0 { isRepeating = false }
    let isBroken = note(events, of: tag)
    if stage == .connecting {
      if isBroken || (tag == Side.backend && events & Readiness.hangup != 0) { return fail(error(of: tag)) }
      guard tag == Side.backend, events & Readiness.output != 0 else { return }
      stage = .relaying
    }
    move()
    // The error of a side that could not be read to its end, as the other does not take what it sent.
    if isBroken && stage != .closed { fail(error(of: tag)) }
  }

  final func moveAgain() {
    guard !isRepeating, let clientRegistration else { return }
    isRepeating = true
    relay.loop.again(clientRegistration)
  }

  /// Both directions have ended.
  final func finish() {
    close()
    relay.ended(self)
  }

  /// One side is broken: the other gets what had come before, and is then reset like it.
  ///
  /// - Parameter error: What is wrong with the backend's side; 0 where it is the client that has gone.
  final func fail(_ error: Int32) {
    if error != 0 { account.fail(error) }
    if stage == .relaying { moveTheRest() }
    abort()
    relay.ended(self)
  }

  private func abort() {
    client.setAbortOnClose()
    backend.setAbortOnClose()
    close()
  }

  /// The error that a broken side has, if it is the backend's.
  private func error(of side: UInt32) -> Int32 {
    guard side == Side.backend else { return 0 }
    let error = (try? backend.option(SocketLevel.socket, SO_ERROR, into: Int32(0))) ?? 0
    return error == 0 ? ECONNRESET : error
  }

  private func connect(to address: SocketAddress) throws(SystemError) {
    let outcome = address.withSockaddr { pointer, length in
      attempt("connect") { Int(Glibc.connect(backend.raw, pointer, length)) }
    }
    switch outcome {
    case .done, .failed(EINPROGRESS):
      if isItsOwnPeer(address) { throw SystemError(call: "connect", errno: ECONNREFUSED) }
    case .notNow: throw SystemError(call: "connect", errno: EAGAIN)
    case .failed(let code): throw SystemError(call: "connect", errno: code)
    }
  }

  /// Whether the kernel picked, among the ports of this host, the very one that nobody listens on: TCP then connects
  /// the socket to itself, and the client would hear its own words.
  private func isItsOwnPeer(_ address: SocketAddress) -> Bool {
    address.ip.isLoopback && (try? SocketAddress.local(of: backend)) == address
  }
}
