import CLinux
import Glibc

/// Whoever has started this process and wants to know how far it is: systemd, by NOTIFY_SOCKET (sd_notify(3)).
struct ServiceManager {
  static let variable = "NOTIFY_SOCKET"

  private let address: sockaddr_un
  private let length: socklen_t

  /// - Parameter name: The path of its socket, or `@` and a name that belongs to the network namespace.
  init?(_ name: String) {
    var bytes = Array(name.utf8)
    var address = sockaddr_un()
    guard let first = bytes.first, bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      return nil
    }
    if first == UInt8(ascii: "@") {
      bytes[0] = 0
    } else if first == UInt8(ascii: "/") {
      bytes.append(0)
    } else {
      return nil
    }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    self.address = address
    length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
  }

  /// The first apply is over.
  func ready() { tell("READY=1") }

  /// The files are read again; `ready` says that this is over.
  func reloading() {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    tell("RELOADING=1\nMONOTONIC_USEC=\(time.tv_sec * 1_000_000 + time.tv_nsec / 1000)")
  }

  /// It is about to end.
  func stopping() { tell("STOPPING=1") }

  /// A manager that does not listen any more is no reason to end.
  private func tell(_ text: String) {
    let type = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    guard let socket = try? Descriptor("socket", { Glibc.socket(AF_UNIX, type, 0) }) else { return }
    let bytes = Array(text.utf8)
    _ = withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(socket.raw, bytes, bytes.count, Int32(MSG_NOSIGNAL), $0, length)
      }
    }
  }
}
