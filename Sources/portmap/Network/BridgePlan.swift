/// Which network a bridge of portmap's own gets.
enum BridgePlan {
  static let defaultName = "portmap0"

  /// Whether a name is one that portmap gives its own bridges: `portmap0` to `portmap99`.
  static func isDefault(_ name: String) -> Bool {
    name.hasPrefix("portmap") && name.count <= 9 && name.dropFirst(7).allSatisfy { $0.isASCII && $0.isNumber }
  }

  /// The gateway addresses that are tried, in order: those of the network manager of 2013, then the larger and the
  /// further ranges that its two FIXMEs asked for.
  static let candidates: [Subnet] = {
    let first = ["172.16.42.1/24", "10.0.42.1/24", "192.168.42.1/24"]
    let larger = ["172.16.0.1/16", "172.30.0.1/16", "10.42.0.1/16", "10.142.0.1/16", "10.242.0.1/16"]
    let further =
      (17...29).map { "172.\($0).42.1/24" } + (1...254).map { "10.\($0).42.1/24" }
      + (43...254).map { "192.168.\($0).1/24" } + (18...19).map { "198.\($0).42.1/24" }
    return (first + larger + further).compactMap { Subnet($0) }
  }()

  /// The first candidate that no route overlaps; nil where all are taken.
  static func choose(routes: [Subnet]) -> Subnet? {
    candidates.first { candidate in !routes.contains { $0.overlaps(candidate) } }
  }
}
