import CLinux

/// The capability that rules and links need.
enum NetAdmin {
  private static let number: Int32 = 12

  static var isHeld: Bool { clinux_has_capability(number) == 1 }

  /// Throws unless this process may change rules and links.
  static func require(for what: String, hint: String) throws(Failure) {
    guard isHeld else { throw Failure(.notPermitted, "\(what) needs CAP_NET_ADMIN", hint: hint) }
  }
}
