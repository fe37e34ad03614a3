import Glibc

extension Command {
  private enum Mode: String {
    /// Answers each line or datagram with `NAME PEER_IP PEER_PORT LOCAL_PORT PAYLOAD`.
    case line
    /// Sends everything back.
    case echo
    /// Reads to the end, then answers with a line whose payload is the number of bytes.
    case sink
    /// Says goodbye and sends no more, then reads to the end and says on stdout how much came, or that it was a reset.
    case farewell
    /// Reads a line and resets the connection.
    case reset
    /// Answers as `line` does, but no datagram that says `flood`.
    case picky
    /// Accepts and never reads.
    case mute
  }

  /// Serves until it is killed or its lifetime ends; `ready` on stdout says that every port is open.
  static func serve(_ options: Options) throws(Ending) {
    let transport = try Transport(named: options.operand(1))
    guard let mode = Mode(rawValue: options["mode"] ?? "line") else { throw Ending(.usage, usage) }
    let name = options["name"] ?? "probe"
    var sockets: [Socket] = []
    for port in try options.ports(3) {
      let endpoint = try Endpoint(options.operand(2), port)
      sockets.append(try .listener(transport, endpoint, reuse: transport == .tcp))
    }
    say("ready")
    while true {
      for socket in waitForInput(sockets) {
        switch transport {
        case .tcp: accept(socket, name, mode)
        case .udp: answer(socket, name, mode)
        }
      }
    }
  }

  private static func waitForInput(_ sockets: [Socket]) -> [Socket] {
    var polled = sockets.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    _ = poll(&polled, nfds_t(polled.count), -1)
    return zip(sockets, polled).filter { $0.1.revents != 0 }.map(\.0)
  }

  private static func answer(_ socket: Socket, _ name: String, _ mode: Mode) {
    var buffer = [UInt8](repeating: 0, count: 65536)
    var count = 0
    let peer = Endpoint { count = recvfrom(socket.descriptor, &buffer, 65536, 0, $0, $1) }
    // An error here is that of an answer that nobody took.
    guard count >= 0 else { return }
    let payload = Array(buffer.prefix(count))
    switch mode {
    case .echo: send(payload, from: socket, to: peer)
    case .picky where payload == floodPayload: break
    case .line, .picky:
      let line = describe(name, peer, socket, String(decoding: payload, as: UTF8.self))
      send(Array(line.utf8), from: socket, to: peer)
    case .sink, .farewell, .reset, .mute: break
    }
  }

  private static func send(_ bytes: [UInt8], from socket: Socket, to peer: Endpoint) {
    _ = peer.withSockaddr { sendto(socket.descriptor, bytes, bytes.count, 0, $0, $1) }
  }

  private static func accept(_ listener: Socket, _ name: String, _ mode: Mode) {
    var descriptor: Int32 = -1
    let peer = Endpoint { descriptor = Glibc.accept(listener.descriptor, $0, $1) }
    guard descriptor >= 0 else { return }
    let socket = Socket(descriptor: descriptor)
    let greeting = { @Sendable (payload: String) in describe(name, peer, socket, payload) }
    inBackground { [descriptor] in
      // A client that goes away ends its own connection only.
      try? converse(socket, mode, greeting)
      close(descriptor)
    }
  }

  private static func describe(_ name: String, _ peer: Endpoint, _ socket: Socket, _ payload: String)
    -> String
  {
    "\(name) \(peer.address) \(peer.port) \(socket.local.port) \(payload)"
  }

  private static func converse(
    _ socket: Socket,
    _ mode: Mode,
    _ greeting: @Sendable (String) -> String
  ) throws(Ending) {
    switch mode {
    case .line, .picky:
      while true {
        let (line, ended) = try socket.receiveLine()
        if ended && line.isEmpty { return }
        try socket.sendStream(Array((greeting(line) + "\n").utf8))
        if ended { return }
      }
    case .echo:
      while true {
        let bytes = try socket.receive(limit: 1 << 18)
        if bytes.isEmpty { return }
        try socket.sendStream(bytes)
      }
    case .sink:
      try socket.sendStream(Array((greeting("\(try count(socket))") + "\n").utf8))
    case .farewell:
      try socket.sendStream(Array("goodbye\n".utf8))
      shutdown(socket.descriptor, Int32(SHUT_WR))
      do throws(Ending) {
        say("received \(try count(socket))")
      } catch {
        say("reset")
      }
    case .reset:
      _ = try socket.receiveLine()
      socket.set(SOL_SOCKET, SO_LINGER, linger(l_onoff: 1, l_linger: 0))
    case .mute:
      sleep(60)
    }
  }

  private static func count(_ socket: Socket) throws(Ending) -> Int {
    var count = 0
    while true {
      let bytes = try socket.receive(limit: 1 << 18)
      if bytes.isEmpty { return count }
      count += bytes.count
    }
  }
}
