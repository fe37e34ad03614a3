import Glibc

/// What `scatter` sends.
let floodPayload = Array("flood".utf8)

extension Command {
  /// Sends one datagram each from many addresses, which follow the first one and must all be this host's own.
  static func scatter(_ options: Options) throws(Ending) {
    let ports = Array(try options.ports(2))
    var first = in_addr()
    guard inet_pton(AF_INET, options["from"] ?? "", &first) == 1 else { throw Ending(.usage, usage) }
    for number in 0..<(options.integer("count") ?? 1) {
      let address = UInt32(bigEndian: first.s_addr) + UInt32(number)
      let bytes = [24, 16, 8, 0].map { "\(address >> UInt32($0) & 0xFF)" }
      let socket = try Socket(.udp, ipv6: false)
      try socket.bind(to: bytes.joined(separator: "."))
      try socket.connect(to: try Endpoint(options.operand(1), ports[number % ports.count]))
      // A refusal is that of no earlier datagram: there was none.
      try socket.sendDatagram(floodPayload)
      close(socket.descriptor)
      // Slowly enough for the other side's buffers.
      if number % 32 == 31 { usleep(500) }
    }
  }

  /// Connects udp sockets, one after the other, as any program does that asks for a name, until it is told to end by
  /// SIGTERM; prints how many could be connected and how many could not.
  static func connects(_ options: Options) throws(Ending) {
    let endpoint = try Endpoint(options.operand(1), try options.ports(2).lowerBound)
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    sigprocmask(SIG_BLOCK, &signals, nil)
    say("ready")
    var connected = 0
    var failed = 0
    var pending = sigset_t()
    while sigismember(&pending, SIGTERM) == 0 {
      let socket = try Socket(.udp, ipv6: endpoint.isIPv6)
      if (try? socket.connect(to: endpoint)) == nil { failed += 1 } else { connected += 1 }
      close(socket.descriptor)
      usleep(200)
      sigpending(&pending)
    }
    say("connected \(connected), failed \(failed)")
  }
}
