import CLinux
import Foundation
import Testing

/// A connection to the control socket of a background process.
final class ControlSocket {
  private var descriptor: Int32

  /// Connects to the only background process of a state folder, which need not accept.
  ///
  /// - Parameter flags: SOCK_NONBLOCK where it shall not wait for room in the queue: it fails with EAGAIN then.
  init(in state: String, flags: Int32 = 0) throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: state).filter { $0.hasPrefix("hold-") }
    try #require(names.count == 1, "\(names)")
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "\(state)/\(names[0])".utf8) }
    descriptor = socket(
      AF_UNIX,
      Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | flags,
      0
    )
    var time = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    let result = withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if result != 0 { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
  }

  deinit { hangUp() }

  func hangUp() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
  }

  /// Connects until the queue of those that are not accepted is full.
  static func fillQueue(in state: String) throws -> [ControlSocket] {
    var waiting: [ControlSocket] = []
    do {
      while true { waiting.append(try ControlSocket(in: state, flags: Int32(SOCK_NONBLOCK.rawValue))) }
    } catch POSIXError.EAGAIN {
      return waiting
    }
  }

  /// Sends a message and returns the first that comes back.
  func ask(_ message: [UInt8]) throws -> [UInt8] {
    try #require(send(descriptor, message, message.count, Int32(MSG_NOSIGNAL)) == message.count)
    return try next()
  }

  /// The next message; an empty one when the other end has closed.
  func next() throws -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    try #require(count >= 0, "recv: \(String(cString: strerror(errno)))")
    return Array(buffer[..<count])
  }
}
