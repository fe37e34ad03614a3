import Glibc

/// The kernel's switches that let packets pass from one interface to another.
enum Forwarding {
  /// Turns forwarding on for a family where it is off.
  ///
  /// For IPv6 a host that forwards stops listening to router advertisements, unless its interfaces are told to accept
  /// them nonetheless (2 instead of 1): those that did before are.
  ///
  /// - Returns: What was changed, as `net.ipv4.ip_forward=1`; to be said, since it stays.
  static func enable(_ family: IPAddress.Family) throws(SystemError) -> [String] {
    switch family {
    case .v4:
      return try set("net.ipv4.ip_forward", to: "1") ? ["net.ipv4.ip_forward=1"] : []
    case .v6:
      guard Files.word(of: path("net.ipv6.conf.all.forwarding")) == "0" else { return [] }
      var changed: [String] = []
      for interface in Files.names(in: "/proc/sys/net/ipv6/conf") ?? [] {
        let file = "/proc/sys/net/ipv6/conf/\(interface)/accept_ra"
        guard Files.word(of: file) == "1" else { continue }
        try write("2", to: file)
        changed.append("net.ipv6.conf.\(interface).accept_ra=2")
      }
      _ = try set("net.ipv6.conf.all.forwarding", to: "1")
      return changed.sorted() + ["net.ipv6.conf.all.forwarding=1"]
    }
  }

  /// Whether forwarding would have to be turned on.
  static func isOff(_ family: IPAddress.Family) -> Bool { Files.word(of: path(name(family))) == "0" }

  /// Whether an interface forwards nothing although its family's switch is on: for IPv4 each has a switch of its own.
  static func isOff(_ family: IPAddress.Family, on link: String) -> Bool {
    family == .v4 && !isOff(.v4) && Files.word(of: "/proc/sys/net/ipv4/conf/\(link)/forwarding") == "0"
  }

  /// The switch of a family, as sysctl(8) names it.
  static func name(_ family: IPAddress.Family) -> String {
    family == .v4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding"
  }

  private static func set(_ name: String, to value: String) throws(SystemError) -> Bool {
    guard let old = Files.word(of: path(name)), old != value else { return false }
    try write(value, to: path(name))
    return true
  }

  private static func path(_ name: String) -> String {
    "/proc/sys/" + String(name.map { $0 == "." ? "/" : $0 })
  }

  private static func write(_ value: String, to path: String) throws(SystemError) {
    let file = try Descriptor("open", about: path) { open(path, O_WRONLY | O_CLOEXEC) }
    try Files.write(value, to: file, about: path)
  }
}
