import CLinux

/// The capabilities of this process (capabilities(7)).
enum Capability {
  /// Whether this process may change rules and links (CAP_NET_ADMIN).
  static var mayAdministerNetwork: Bool { clinux_has_capability(CAP_NET_ADMIN) == 1 }
}
