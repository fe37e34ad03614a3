/// What an operation is given besides what is wanted of it.
struct Setting {
  let statePath: StatePath
  let runner: ProgramRunner
  /// Whether the operation only says what it would do.
  let isDryRun: Bool
  /// Tells a person what is no result.
  let notify: (Notice) -> Void
  /// Whether loopback connections may be led as they connect.
  var connects = true
  /// Tells a person who wants to know more (-v).
  var explain: (Notice) -> Void = { _ in }
}

extension Setting {
  /// What PORTMAP_CONNECT says: only `0` leaves the program on connect(2) out.
  static func connects(_ environment: [String: String]) -> Bool { environment["PORTMAP_CONNECT"] != "0" }
}

/// Something that a person should know although the operation goes on.
enum Notice {
  /// The state folder's lock is somebody else's for longer than a moment.
  case waiting(String)
  /// A switch of the kernel was turned on, and stays so: `net.ipv4.ip_forward=1`.
  case turnedOn(String)
  /// No rules can be made for IPv6.
  case noIPv6Rules
  /// Rules that had been lost were put back before the operation went on.
  case rulesPutBack(Int)
  /// `iptables` is another variant than the one that made the rules, which are removed with that.
  case otherVariant(String)
  case severalAddresses(bridge: String, counted: Subnet)
  case defaultRouteKept(namespace: String)
  /// A network that was asked for lies within a wider route.
  case withinRoute(Subnet, route: Subnet)
  /// The kernel does not let tracked connections be deleted.
  case flowsNotDeleted(any Error)
  case notUndone(any Error)
  case notRecorded(any Error)
  /// Something was to be taken away and could not be: it waits.
  case removalWaits(any Error)
  /// Something that is recorded could not be mended on the way.
  case notMended(any Error)
  /// Something was mended on the way.
  case mended(Mended)
  /// An address that nobody declares any more stays, because a mapping of others leads to it.
  case addressKept(AllocatedAddress, for: Mapping)
  /// Loopback connections are not led as they connect, and the proxy serves them.
  case notConnected(any Error)
  /// What was to live as long as a command that is gone could not be released.
  case notReleased(any Error)
}
