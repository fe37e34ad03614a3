/// What `ip` is told to make bridges and plug guests in.
enum LinkCommands {
  static func bridge(_ name: String, _ subnet: Subnet, alias: LinkAlias) -> [String] {
    [
      "link add name \(name) type bridge", "link set dev \(name) alias \(alias)",
      "address add \(subnet) broadcast + dev \(name)", "link set dev \(name) up",
    ]
  }

  /// A pair of links: one end is a port of the bridge, the other a namespace's interface.
  static func pair(
    _ link: String,
    _ bridge: String,
    to interface: String,
    inNamespace namespace: String,
    alias: LinkAlias
  ) -> [String] {
    [
      "link add name \(link) type veth peer name \(interface) netns \(namespace)",
      "link set dev \(link) alias \(alias)",
    ] + port(link, bridge)
  }

  /// Makes a link a port of a bridge. In hairpin mode a guest reaches its own mapped ports.
  static func port(_ link: String, _ bridge: String) -> [String] {
    [
      "link set dev \(link) master \(bridge)", "link set dev \(link) type bridge_slave hairpin on",
      "link set dev \(link) up",
    ]
  }

  /// A guest's own side: run in its namespace.
  static func guest(_ interface: String, _ address: IPAddress, on subnet: Subnet, withRoute: Bool) -> [String]
  {
    let route = withRoute ? ["route add default via \(subnet.address) dev \(interface)"] : []
    return [
      "link set dev lo up", "address add \(address)/\(subnet.prefixLength) dev \(interface)",
      "link set dev \(interface) up",
    ] + route
  }
}

/// What portmap writes into the alias of a link that it has made: whose it is, and for a guest's link the address and
/// name, so that they can be told should the state be lost. `portmap`, `portmap-3fa9c1`, `portmap:172.16.42.2:web`.
struct LinkAlias: Equatable, CustomStringConvertible {
  let owner: String
  var guest: Guest?

  struct Guest: Equatable {
    let address: IPAddress
    let name: String
  }

  init(tag: String, guest: Guest? = nil) {
    owner = tag.isEmpty ? "portmap" : "portmap-\(tag)"
    self.guest = guest
  }

  /// Nil for an alias that is not portmap's.
  init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts[0] == "portmap" || parts[0].hasPrefix("portmap-") else { return nil }
    owner = String(parts[0])
    if parts.count == 3, let address = IPAddress(parts[1]) {
      guest = Guest(address: address, name: String(parts[2]))
    } else if parts.count > 1 {
      return nil
    }
  }

  var description: String { guest.map { "\(owner):\($0.address):\($0.name)" } ?? owner }
}
