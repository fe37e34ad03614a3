import CLinux
import Glibc

// Connections of all stream frontends, TCP's and SCTP's: accepting them, keeping count, and doing without descriptors.
//
// A connection takes two descriptors. The one for the backend is opened before accept is called and kept for the
// next client when there is none, so that a client is accepted only when it can be served. When either cannot be
// had (the process's limit, the system's, or our own cap), the frontend is paused: taken out of the loop, its
// clients waiting in the kernel's queue, and put at the end of a line. The end of a connection resumes the first in
// line; a timer resumes some as well, as descriptors may come free elsewhere.

/// The relay of all stream frontends.
final class StreamRelay {
  /// The most connections that are accepted from one frontend in one turn, so that a flood on one port leaves the
  /// others their turn.
  private static let acceptsATurn = 32
  private static let retryMilliseconds = 100
  private static let retryFrontends = 32
  private static let releaseMilliseconds = 5000

  unowned let loop: EventLoop
  let buffers = FlowBuffers()
  let accounts: TrafficAccounts
  /// Connections that may be open at once; the server adjusts it to what it serves.
  var limit = Int.max
  private var connections: [StreamConnection] = []
  private var paused: [StreamFrontend] = []
  private var spare: (socket: Descriptor, family: IPAddress.Family, transport: Transport)?
  private var retryIsSet = false
  private var releaseIsSet = false
  private var endedThisTurn = 0

  init(loop: EventLoop, accounts: TrafficAccounts) {
    self.loop = loop
    self.accounts = accounts
  }

  func serve(_ frontend: StreamFrontend) throws(SystemError) {
    try frontend.socket.setNonBlocking()
    frontend.socket.setStreamOptions(frontend.route.transport)
    if frontend.route.transport == .sctp { frontend.socket.askForStreams(.ofFrontend) }
    try frontend.resume()
  }

  /// Closes the connections of the groups that `matches` picks, and lets go of their frontends.
  func close(where matches: (Int) -> Bool) {
    paused.removeAll { matches($0.group) }
    for connection in connections where matches(connection.group) {
      connection.close()
      ended(connection)
    }
  }

  /// Accepts what waits at a frontend.
  func accept(from frontend: StreamFrontend) {
    for _ in 0..<Self.acceptsATurn {
      guard connections.count < limit, let backend = backendSocket(for: frontend.route) else {
        return pause(frontend)
      }
      let flags = Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
      switch attempt("accept4", { Int(clinux_accept4(frontend.socket.raw, nil, nil, flags)) }) {
      case .done(let number):
        open(Descriptor(owning: Int32(number)), backend, frontend)
      case .notNow:
        return keep(backend, for: frontend.route)
      case .failed(ECONNABORTED):
        keep(backend, for: frontend.route)
      case .failed:
        // Out of descriptors, or something that will not be better at once: to try again without a pause would
        // be to spin.
        keep(backend, for: frontend.route)
        return pause(frontend)
      }
    }
  }

  /// Takes a connection that has closed itself off the list.
  func ended(_ connection: StreamConnection) {
    guard let last = connections.popLast() else { return }
    if last !== connection {
      connections[connection.index] = last
      last.index = connection.index
    }
    endedThisTurn += 1
  }

  /// Lets waiting frontends go on at the end of a turn, when the sockets of the connections that ended in it are closed.
  func endTurn() {
    guard endedThisTurn > 0 else { return }
    resumePaused(endedThisTurn)
    endedThisTurn = 0
    if connections.isEmpty && !releaseIsSet { setRelease() }
  }

  /// Gives the memory of traffic back some time after the last of it: not at once, or one connection after another
  /// would each pay for it again.
  private func setRelease() {
    releaseIsSet = true
    loop.after(milliseconds: Self.releaseMilliseconds) { [weak self] in
      guard let self else { return }
      releaseIsSet = false
      guard connections.isEmpty else { return }
      buffers.release()
      spare = nil
      malloc_trim(0)
    }
  }

  private func open(_ client: Descriptor, _ backend: Descriptor, _ frontend: StreamFrontend) {
    let connection =
      frontend.route.transport == .sctp
      ? SCTPConnection(client: client, backend: backend, frontend: frontend, relay: self)
      : TCPConnection(client: client, backend: backend, frontend: frontend, relay: self)
    guard connection.open(frontend.route) else { return }
    connection.index = connections.count
    connections.append(connection)
  }

  private func backendSocket(for route: ProxyRoute) -> Descriptor? {
    if let (socket, family, transport) = spare {
      spare = nil
      if family == route.backend.ip.family && transport == route.transport { return socket }
    }
    guard let socket = try? Descriptor.socket(route.transport, route.backend.ip.family) else { return nil }
    socket.setStreamOptions(route.transport)
    return socket
  }

  private func keep(_ socket: Descriptor, for route: ProxyRoute) {
    spare = (socket, route.backend.ip.family, route.transport)
  }

  private func pause(_ frontend: StreamFrontend) {
    frontend.pause()
    paused.append(frontend)
    setRetry()
  }

  private func resumePaused(_ count: Int) {
    let first = paused.prefix(count)
    paused.removeFirst(first.count)
    for frontend in first {
      do throws(SystemError) {
        try frontend.resume()
      } catch {
        // No memory for the registration: it stays in line.
        paused.append(frontend)
      }
    }
  }

  private func setRetry() {
    guard !retryIsSet else { return }
    retryIsSet = true
    loop.after(milliseconds: Self.retryMilliseconds) { [weak self] in
      guard let self else { return }
      retryIsSet = false
      resumePaused(Self.retryFrontends)
      if !paused.isEmpty { setRetry() }
    }
  }
}
