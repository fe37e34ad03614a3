import Glibc

extension Command {
  /// Asks once and prints the answer; the exit status tells how it failed.
  static func ask(_ options: Options) throws(Ending) {
    let transport = try Transport(named: options.operand(1))
    let socket = try connected(transport, options, at: 2)
    switch transport {
    case .tcp: say(try askStream(socket, options))
    case .udp: say(try askDatagram(socket, options))
    }
  }

  /// Sends datagrams without a pause from one port until the backend of a given name answers.
  static func flood(_ options: Options) throws(Ending) {
    let interval = Double(options.integer("interval") ?? 5) / 1000
    let deadline = now() + options.timeout
    let socket = try connected(.udp, options, at: 1)
    socket.setTimeout(interval)
    var last = ""
    while now() < deadline {
      // A refusal or silence is what the flood is there to outlast.
      try? socket.sendDatagram(Array("flood".utf8))
      guard let answer = try? socket.receive() else {
        usleep(UInt32(interval * 1_000_000))
        continue
      }
      let text = String(decoding: answer, as: UTF8.self)
      if text != last { say(text) }
      last = text
      if let name = options["until"], text.hasPrefix(name + " ") { return }
      usleep(UInt32(interval * 1_000_000))
    }
    throw Ending(.silent, "no such answer; the last one was: \(last)")
  }

  /// Sends a datagram to each port of a range, all from one port, and waits for no answer.
  static func spray(_ options: Options) throws(Ending) {
    let ports = try options.ports(2)
    let socket = try Socket(.udp, ipv6: try Endpoint(options.operand(1), ports.lowerBound).isIPv6)
    if let address = options["bind"] { try socket.bind(to: address) }
    for port in ports {
      let endpoint = try Endpoint(options.operand(1), port)
      try check(endpoint.withSockaddr { Int32(sendto(socket.descriptor, [0], 1, 0, $0, $1)) }, "sendto")
    }
  }

  /// Asks over many connections at once, prints how many were answered.
  static func crowd(_ options: Options) throws(Ending) {
    let endpoint = try Endpoint(options.operand(1), try options.ports(2).lowerBound)
    let timeout = options.timeout
    let count = options.integer("count") ?? 1
    var results: [Int32] = [-1, -1]
    try check(pipe(&results), "pipe")
    let output = results[1]
    for _ in 0..<count {
      inBackground {
        var byte: UInt8 = (try? askOnce(endpoint, timeout)) == nil ? 0 : 1
        _ = write(output, &byte, 1)
      }
    }
    var answered = 0
    for _ in 0..<count {
      var byte: UInt8 = 0
      if read(results[0], &byte, 1) == 1 { answered += Int(byte) }
    }
    say("answered \(answered)")
  }

  private static func askOnce(_ endpoint: Endpoint, _ timeout: Double) throws(Ending) {
    let socket = try Socket(.tcp, ipv6: endpoint.isIPv6)
    defer { close(socket.descriptor) }
    socket.setTimeout(timeout)
    try socket.connect(to: endpoint)
    try socket.sendStream(Array("hello\n".utf8))
    let (line, _) = try socket.receiveLine()
    if line.isEmpty { throw Ending(.closed, "closed without an answer") }
  }

  private static func connected(
    _ transport: Transport,
    _ options: Options,
    at index: Int
  ) throws(Ending) -> Socket {
    let endpoint = try Endpoint(options.operand(index), try options.ports(index + 1).lowerBound)
    let socket = try Socket(transport, ipv6: endpoint.isIPv6)
    socket.setTimeout(options.timeout)
    if let address = options["bind"] { try socket.bind(to: address) }
    if let device = options["device"] {
      try check(
        setsockopt(socket.descriptor, SOL_SOCKET, SO_BINDTODEVICE, device, socklen_t(device.utf8.count)),
        "setsockopt"
      )
    }
    try socket.connect(to: endpoint)
    if options.has("peer") {
      let peer = Endpoint { getpeername(socket.descriptor, $0, $1) }
      say("\(peer.address) \(peer.port)")
    }
    return socket
  }

  private static func askStream(_ socket: Socket, _ options: Options) throws(Ending) -> String {
    guard let size = options.integer("size") else {
      try socket.sendStream(Array(((options["payload"] ?? "hello") + "\n").utf8))
      let (line, ended) = try socket.receiveLine()
      if ended && line.isEmpty { throw Ending(.closed, "closed without an answer") }
      return line
    }
    let bytes = pattern(size)
    if options.has("read-first") {
      let greeting = text(try socket.receiveToEnd())
      try socket.sendStream(bytes)
      if options.has("abort") {
        socket.set(SOL_SOCKET, SO_LINGER, linger(l_onoff: 1, l_linger: 0))
        close(socket.descriptor)
      }
      return greeting
    }
    // In the background, or an echo would fill both directions and stop both sides.
    inBackground {
      try? socket.sendStream(bytes)
      shutdown(socket.descriptor, Int32(SHUT_WR))
    }
    let answer = try socket.receiveToEnd()
    return answer == bytes ? "echoed \(size)" : text(answer.prefix(200))
  }

  private static func askDatagram(_ socket: Socket, _ options: Options) throws(Ending) -> String {
    let bytes = options.integer("size").map { pattern($0) } ?? Array((options["payload"] ?? "hello").utf8)
    try socket.sendDatagram(bytes)
    let answer = try socket.receive()
    return options.has("size") && answer == bytes ? "echoed \(bytes.count)" : text(answer.prefix(200))
  }

  private static func text(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: Array(bytes), as: UTF8.self).split(separator: "\n").joined(separator: "\n")
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
