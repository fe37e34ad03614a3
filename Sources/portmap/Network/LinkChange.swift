/// A change of links as commands of `ip`.
struct LinkChange: Equatable, Sendable {
  /// Commands that run one after the other in one namespace.
  struct Step: Equatable, Sendable {
    /// The namespace's name; nil for portmap's own.
    var namespace: String?
    let commands: [String]
  }

  let steps: [Step]
  /// The link that comes into being: deleting it undoes the change.
  var link: String?

  init(_ steps: [Step], link: String? = nil) {
    self.steps = steps
    self.link = link
  }

  private init(_ commands: String...) { steps = [Step(commands: commands)] }

  /// Makes a bridge with an address.
  static func addBridge(_ name: String, _ subnet: Subnet, alias: LinkAlias) -> LinkChange {
    let commands = [
      "link add name \(name) type bridge", "link set dev \(name) alias \(alias)",
      "address add \(subnet) broadcast + dev \(name)", "link set dev \(name) up",
    ]
    return LinkChange([Step(commands: commands)], link: name)
  }

  /// Gives a bridge its address.
  static func addAddress(_ subnet: Subnet, to bridge: String) -> LinkChange {
    LinkChange("address add \(subnet) broadcast + dev \(bridge)")
  }

  static func setUp(_ link: String) -> LinkChange { LinkChange("link set dev \(link) up") }

  static func delete(_ link: String) -> LinkChange { LinkChange("link delete \(link)") }

  /// Makes a link a port of a bridge.
  static func plug(_ link: String, into bridge: String) -> LinkChange {
    LinkChange([Step(commands: port(link, bridge))])
  }

  /// A network namespace that is to be plugged into a bridge.
  struct Guest {
    let namespace: String
    let address: IPAddress
    /// The name of its interface, in there.
    let interface: String
    /// Whether it gets a default route through the bridge.
    let withRoute: Bool
  }

  /// Plugs a namespace into a bridge: a pair of links, the address, the default route.
  static func plugIn(
    _ guest: Guest,
    by link: String,
    to bridge: String,
    _ subnet: Subnet,
    alias: LinkAlias
  ) -> LinkChange {
    let pair = [
      "link add name \(link) type veth peer name \(guest.interface) netns \(guest.namespace)",
      "link set dev \(link) alias \(alias)",
    ]
    let inside = [
      "link set dev lo up", "address add \(guest.address)/\(subnet.prefixLength) dev \(guest.interface)",
      "link set dev \(guest.interface) up",
    ]
    let route = guest.withRoute ? ["route add default via \(subnet.address) dev \(guest.interface)"] : []
    return LinkChange(
      [
        Step(commands: pair + port(link, bridge)), Step(namespace: guest.namespace, commands: inside + route),
      ],
      link: link
    )
  }

  /// In hairpin mode a guest reaches its own mapped ports.
  private static func port(_ link: String, _ bridge: String) -> [String] {
    [
      "link set dev \(link) master \(bridge)", "link set dev \(link) type bridge_slave hairpin on",
      "link set dev \(link) up",
    ]
  }
}
