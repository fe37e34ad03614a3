import CLinux
import Glibc

/// The capabilities of this process (capabilities(7)).
enum Capability {
  /// Whether this process may change rules and links: it has CAP_NET_ADMIN, and its network namespace belongs to the
  /// user namespace in which it has that.
  static let mayAdministerNetwork = clinux_has_capability(CAP_NET_ADMIN) == 1 && mayMark

  /// Whether this process has what a program on connect(2) and its map take, in its own user namespace at least.
  static let mayAdministerSystem =
    clinux_has_capability(CAP_SYS_ADMIN) == 1 && clinux_has_capability(CAP_NET_ADMIN) == 1

  /// Whether this process may mark packets of its network namespace (SO_MARK, socket(7)): root of another user
  /// namespace than the network's may not, whatever capabilities it has there.
  private static var mayMark: Bool {
    let raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { return true }
    let probe = Descriptor(owning: raw)
    return probe.setOption(SOL_SOCKET, SO_MARK, 0)
  }
}
