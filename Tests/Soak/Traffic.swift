import Foundation

/// A server that sends back what it gets, in the guest's namespace, and questions to it, over TCP and UDP.
enum Traffic {
  /// The first argument with which this program is the server.
  static let server = "serve"
  private static let port: UInt16 = 80
  /// A datagram to a port comes from that port and this number: a client is remembered for 90 seconds, and with a new
  /// port in each round would be another one; with one port for all, some would be the same flow at the backend.
  private static let datagramOffset: UInt16 = 15_000

  /// Serves until it is killed: connections of both families side by side, and datagrams.
  static func serve() throws -> Never {
    signal(SIGPIPE, SIG_IGN)
    let sockets = try [SOCK_STREAM, SOCK_DGRAM].map(openServer)
    guard listen(sockets[0], 1024) == 0 else { throw trouble("listen") }
    var requests = sockets.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      poll(&requests, nfds_t(requests.count), -1)
      for request in requests[2...] where request.revents != 0 {
        let count = read(request.fd, &buffer, buffer.count)
        if count > 0, write(request.fd, buffer, count) == count { continue }
        close(request.fd)
        requests.removeAll { $0.fd == request.fd }
      }
      if requests[0].revents != 0 {
        requests.append(pollfd(fd: accept(sockets[0], nil, nil), events: Int16(POLLIN), revents: 0))
      }
      if requests[1].revents != 0 { answerDatagram(sockets[1], &buffer) }
    }
  }

  private static func openServer(_ type: __socket_type) throws -> Int32 {
    let socket = try open(type, family: AF_INET6)
    var (yes, no): (Int32, Int32) = (1, 0)
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
    setsockopt(socket, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &no, 4)
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = port.bigEndian
    let result = withUnsafeBytes(of: &address) { bytes in
      bytes.baseAddress.map {
        bind(socket, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
      }
    }
    guard result == 0 else { throw trouble("bind") }
    return socket
  }

  private static func answerDatagram(_ socket: Int32, _ buffer: inout [UInt8]) {
    var from = sockaddr_in6()
    var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
    withUnsafeMutableBytes(of: &from) { bytes in
      guard let start = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return }
      let count = recvfrom(socket, &buffer, buffer.count, 0, start, &length)
      if count >= 0 { _ = sendto(socket, buffer, count, 0, start, length) }
    }
  }

  /// Sends bytes to an address and expects them back.
  static func ask(_ host: String, _ port: UInt16, isDatagram: Bool = false) throws {
    try Connection(host, port, isDatagram: isDatagram).ask()
  }

  /// A connected socket, closed when it is let go of.
  final class Connection {
    private let socket: Int32
    private let name: String

    init(_ host: String, _ port: UInt16, isDatagram: Bool = false) throws {
      name = "\(host):\(port)\(isDatagram ? "/udp" : "")"
      socket = try open(isDatagram ? SOCK_DGRAM : SOCK_STREAM)
      let source = isDatagram ? port + datagramOffset : 0
      guard address("0.0.0.0", source, { bind(socket, $0, $1) }) == 0 else { throw trouble("bind") }
      var limit = timeval(tv_sec: 5, tv_usec: 0)
      setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
      guard address(host, port, { connect(socket, $0, $1) }) == 0 else { throw trouble("connect to \(name)") }
    }

    deinit { close(socket) }

    /// Sends a thousand bytes and expects them back.
    func ask() throws {
      let question = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      guard write(socket, question, question.count) == question.count else {
        throw trouble("write to \(name)")
      }
      var answer: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 65536)
      while answer.count < question.count {
        let received = read(socket, &buffer, buffer.count)
        guard received > 0 else { throw trouble("read from \(name)") }
        answer += buffer.prefix(received)
      }
      guard answer == question else { throw Machine.Trouble("\(name) answers something else") }
    }
  }

  private static func open(_ type: __socket_type, family: Int32 = AF_INET) throws -> Int32 {
    let socket = socket(family, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw trouble("socket") }
    return socket
  }

  private static func address(
    _ host: String,
    _ port: UInt16,
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    inet_pton(AF_INET, host, &address.sin_addr)
    return withUnsafeBytes(of: &address) { bytes in
      guard let start = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return -1 }
      return body(start, socklen_t(bytes.count))
    }
  }

  private static func trouble(_ call: String) -> Machine.Trouble {
    Machine.Trouble("\(call): \(String(cString: strerror(errno)))")
  }
}
