import Foundation

/// A server that sends back what it gets, in the guest's namespace, and questions to it, over TCP and UDP.
enum Traffic {
  /// The first argument with which this program is the server.
  static let server = "serve"
  private static let port: UInt16 = 80
  /// What datagrams are sent from: a client is remembered for 90 seconds, and each round would be another one.
  private static let datagramPort: UInt16 = 20_000

  /// Serves until it is killed: one connection and one datagram after the other.
  static func serve() throws -> Never {
    signal(SIGPIPE, SIG_IGN)
    let listener = try open(SOCK_STREAM)
    let datagrams = try open(SOCK_DGRAM)
    for socket in [listener, datagrams] {
      var yes: Int32 = 1
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
      guard address("0.0.0.0", port, { bind(socket, $0, $1) }) == 0 else { throw trouble("bind") }
    }
    guard listen(listener, 64) == 0 else { throw trouble("listen") }
    var requests = [listener, datagrams].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      poll(&requests, 2, -1)
      if requests[0].revents != 0 {
        let connection = accept(listener, nil, nil)
        while case let count = read(connection, &buffer, buffer.count), count > 0 {
          _ = write(connection, buffer, count)
        }
        close(connection)
      }
      if requests[1].revents != 0 {
        var from = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutableBytes(of: &from) { bytes in
          guard let start = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return }
          let count = recvfrom(datagrams, &buffer, buffer.count, 0, start, &length)
          if count >= 0 { _ = sendto(datagrams, buffer, count, 0, start, length) }
        }
      }
    }
  }

  /// Sends bytes to an address and expects them back.
  static func ask(_ host: String, _ port: UInt16, isDatagram: Bool = false, bytes count: Int = 1000) throws {
    let socket = try open(isDatagram ? SOCK_DGRAM : SOCK_STREAM)
    defer { close(socket) }
    let source = isDatagram ? datagramPort : 0
    guard address("0.0.0.0", source, { bind(socket, $0, $1) }) == 0 else { throw trouble("bind") }
    var limit = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    guard address(host, port, { connect(socket, $0, $1) }) == 0 else { throw trouble("connect to \(host)") }
    let question = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    guard write(socket, question, count) == count else { throw trouble("write to \(host)") }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while answer.count < count {
      let received = read(socket, &buffer, buffer.count)
      guard received > 0 else { throw trouble("read from \(host):\(port)") }
      answer += buffer.prefix(received)
    }
    guard answer == question else { throw Machine.Trouble("\(host):\(port) answers something else") }
  }

  private static func open(_ type: __socket_type) throws -> Int32 {
    let socket = socket(AF_INET, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
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
