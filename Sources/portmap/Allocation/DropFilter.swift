import CLinux
import Glibc

/// The filter that keeps a held socket from answering anybody: a classic BPF program that drops every packet.
///
/// Linux 6.18 lets only CAP_NET_ADMIN put one on a TCP socket. Without it the socket demands the hop limit that no
/// packet but a neighbour's can have and that none has by default, 255 (IP_MINTTL, IPV6_MINHOPCOUNT): the kernel drops
/// all else as silently.
enum DropFilter {
  /// Silences a socket.
  static func attach(to socket: Descriptor, _ family: IPAddress.Family) throws(SystemError) {
    do {
      try syscall("setsockopt") { clinux_attach_drop_filter(socket.raw) }
    } catch  where error.errno == EPERM {
      try demandHops(255, of: socket, family)
    }
  }

  /// Lets a socket receive again.
  static func detach(from socket: Descriptor) throws(SystemError) {
    do {
      try syscall("setsockopt") { clinux_detach_filter(socket.raw) }
    } catch  where error.errno == ENOENT {
      let family: IPAddress.Family = try SocketAddress.local(of: socket)?.ip.family ?? .v4
      try demandHops(0, of: socket, family)
    }
  }

  /// Whether a socket drops what arrives.
  static func isAttached(to socket: Descriptor) -> Bool {
    if clinux_has_filter(socket.raw) == 1 { return true }
    return (try? socket.option(SocketLevel.ip, IP_MINTTL, into: Int32(0))) == 255
  }

  /// Drops what has fewer hops left than `count`. An IPv6 socket may be a dual-stack one: both options are set on it.
  private static func demandHops(_ count: Int32, of socket: Descriptor, _ family: IPAddress.Family)
    throws(SystemError)
  {
    try socket.requireOption(SocketLevel.ip, IP_MINTTL, count)
    if family == .v6 { try socket.requireOption(SocketLevel.ipv6, IPV6_MINHOPCOUNT, count) }
  }
}
