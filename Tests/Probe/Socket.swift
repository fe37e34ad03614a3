import Glibc

/// A blocking socket. Its descriptor lives as long as the probe, unless it is closed.
struct Socket: Sendable {
  let descriptor: Int32

  init(_ transport: Transport, ipv6: Bool) throws(Ending) {
    let type = Int32((transport == .tcp ? SOCK_STREAM : SOCK_DGRAM).rawValue)
    descriptor = socket(ipv6 ? AF_INET6 : AF_INET, type, 0)
    try check(descriptor, "socket")
  }

  init(descriptor: Int32) {
    self.descriptor = descriptor
  }

  /// Opens and binds, and for tcp listens.
  static func listener(
    _ transport: Transport,
    _ endpoint: Endpoint,
    reuse: Bool,
    v6only: Bool = false
  ) throws(Ending) -> Socket {
    let socket = try Socket(transport, ipv6: endpoint.isIPv6)
    if reuse { socket.set(SOL_SOCKET, SO_REUSEADDR, Int32(1)) }
    if endpoint.isIPv6 { socket.set(Int32(IPPROTO_IPV6), IPV6_V6ONLY, Int32(v6only ? 1 : 0)) }
    try socket.bind(to: endpoint)
    if transport == .tcp { try check(listen(socket.descriptor, 128), "listen") }
    return socket
  }

  /// Binds to `ADDR` or `ADDR/PORT`, as `--bind` names it.
  func bind(to text: String) throws(Ending) {
    let parts = text.split(separator: "/")
    set(SOL_SOCKET, SO_REUSEADDR, Int32(1))
    try bind(to: try Endpoint(String(parts.first ?? ""), parts.count > 1 ? UInt16(parts[1]) ?? 0 : 0))
  }

  private func bind(to endpoint: Endpoint) throws(Ending) {
    try check(endpoint.withSockaddr { Glibc.bind(descriptor, $0, $1) }, "bind")
  }

  func connect(to endpoint: Endpoint) throws(Ending) {
    try check(endpoint.withSockaddr { Glibc.connect(descriptor, $0, $1) }, "connect")
  }

  func set<Value>(_ level: Int32, _ option: Int32, _ value: Value) {
    withUnsafePointer(to: value) {
      _ = setsockopt(descriptor, level, option, $0, socklen_t(MemoryLayout<Value>.size))
    }
  }

  /// Limits connect, send and receive each to so many seconds.
  func setTimeout(_ seconds: Double) {
    let whole = Int(seconds)
    let value = timeval(tv_sec: whole, tv_usec: Int((seconds - Double(whole)) * 1_000_000))
    set(SOL_SOCKET, SO_RCVTIMEO, value)
    set(SOL_SOCKET, SO_SNDTIMEO, value)
  }

  var local: Endpoint { Endpoint { getsockname(descriptor, $0, $1) } }

  /// Receives once; an empty array is the end of a stream, or an empty datagram.
  func receive(limit: Int = 65536) throws(Ending) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = recv(descriptor, &buffer, limit, 0)
    try check(Int32(clamping: count), "recv")
    return Array(buffer.prefix(count))
  }

  func receiveToEnd() throws(Ending) -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let bytes = try receive(limit: 1 << 18)
      if bytes.isEmpty { return all }
      all += bytes
    }
  }

  /// Receives up to and without a line feed, or what there is before the end.
  func receiveLine() throws(Ending) -> (line: String, ended: Bool) {
    var line: [UInt8] = []
    while true {
      let bytes = try receive()
      if bytes.isEmpty { return (String(decoding: line, as: UTF8.self), true) }
      line += bytes
      if let end = line.firstIndex(of: UInt8(ascii: "\n")) {
        return (String(decoding: line[..<end], as: UTF8.self), false)
      }
    }
  }

  func sendStream(_ bytes: [UInt8]) throws(Ending) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(descriptor, $0.baseAddress?.advanced(by: sent), bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      try check(Int32(clamping: count), "send")
      sent += count
    }
  }

  func sendDatagram(_ bytes: [UInt8]) throws(Ending) {
    try check(Int32(clamping: send(descriptor, bytes, bytes.count, 0)), "send")
  }
}

/// Throws the errno of a call that returned -1.
func check(_ result: Int32, _ call: String) throws(Ending) {
  if result < 0 { throw Ending(errno: errno, call) }
}

/// Bytes that show where one was lost or swapped.
func pattern(_ size: Int) -> [UInt8] {
  // It repeats itself after 64 KiB: byte by byte, without optimization, 30 MB would take many seconds.
  let block = (0..<1 << 16).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  var bytes: [UInt8] = []
  while bytes.count < size { bytes += block.prefix(size - bytes.count) }
  return bytes
}
