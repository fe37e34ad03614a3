import CLinux
import Glibc

/// A TCP port that a portmap of this network namespace has lent to a server which binds it itself.
///
/// The socket of a lent port is bound and does not listen, so whoever sets SO_REUSEADDR can bind and listen on it: the
/// server that it is meant for, but any other portmap, too. So a lent port is announced by a Unix socket with an
/// abstract name. Such names belong to a network namespace, whatever the user, the state folder and the file system;
/// everybody can see them in /proc/net/unix (unix(7)), and they go with the last process that holds the socket.
struct LentPort: Equatable, Sendable {
  let host: HostAddress
  let port: UInt16

  /// What the names begin with.
  private static let prefix = "portmap-lent/"

  private var name: String { "\(Self.prefix)\(port)/\(host)" }

  /// Lends a port whose socket listens: nobody else can have it when this begins, and every portmap that binds it
  /// afterwards finds the announcement.
  ///
  /// - Returns: The announcement, which has to be held as long as the socket.
  /// - Throws: SystemError with EADDRINUSE where another portmap has lent the port, on this or an overlapping address.
  func lend(_ socket: Descriptor) throws(SystemError) -> Descriptor {
    let subject = "\(host.prefix)\(port)"
    let announcement = try UnixSocket.bound(toAbstract: name)
    guard !Self.all().contains(where: { $0 != self && $0.overlaps(host, port) }) else {
      throw SystemError(call: "bind", errno: EADDRINUSE, subject: subject)
    }
    try syscall("shutdown", about: subject) { shutdown(socket.raw, Int32(SHUT_RD)) }
    return announcement
  }

  func overlaps(_ host: HostAddress, _ port: UInt16) -> Bool {
    self.port == port && self.host.overlaps(host)
  }

  /// All that are lent in this network namespace.
  ///
  /// Whoever asks must have bound the ports in question before: what is lent later is then refused to the other side.
  static func all() -> [LentPort] {
    guard let table = Files.contents(of: "/proc/net/unix") else { return [] }
    let mark = Array(" @\(prefix)".utf8)
    return table.split(separator: UInt8(ascii: "\n")).compactMap { line in
      guard let start = line.firstRange(of: mark)?.upperBound else { return nil }
      return LentPort(String(decoding: line[start...], as: UTF8.self))
    }
  }

  /// Reads `8080/127.0.0.1`.
  private init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let port = PortRange.port(parts[0]), let host = HostAddress(String(parts[1]))
    else {
      return nil
    }
    self.init(host: host, port: port)
  }

  init(host: HostAddress, port: UInt16) {
    self.host = host
    self.port = port
  }
}
