/// Ports of the host that lead to as many ports of a backend, and how.
///
/// The planner, the state, the control protocol and the documents share this value, each with an encoding of its own.
struct Mapping: PortMapping, Equatable, Sendable {
  let id: String
  /// What leads where.
  let pair: PortPair
  /// How packets get there.
  var delivery: Delivery
  /// The command that it lives as long as.
  var scope: ProcessIdentity?
  /// The line that declares it; nil where it was made by hand.
  var origin: Origin?
  /// The line that declares the reservation whose port it took over.
  var tookOver: Origin?
  /// The network namespace that its proxy connects from; nil for portmap's own.
  var into: GuestNamespace?
}

/// How a mapping's packets get to the backend.
struct Delivery: Equatable, Sendable {
  /// Whether rules may serve it: not where the proxy alone is wanted, or is all that can reach the backend.
  let rules: Bool
  /// Whether a DNAT rule leads packets of the backend's family there.
  let nat: Bool
  /// Whether a program on connect(2) leads connections to loopback there.
  var connect = false
  /// Whether the background process forwards what no rule takes.
  let proxy: Bool
  /// Whether the source address of all its traffic is rewritten.
  var masquerade = false
  /// Whether a neighbour of the backend gets its answers back through this host, for which its source address is
  /// rewritten. Where it is not, such a neighbour is answered past this host, from an address that it never wrote to.
  var hairpin = true
  /// The header that each forwarded TCP connection begins with.
  var proxyProtocol: ProxyProtocol?
}

extension Mapping {
  /// The same ports, held for nothing but a proxy where there is one.
  var withoutRules: Mapping {
    Mapping(id: id, pair: pair, delivery: Delivery(rules: false, nat: false, proxy: delivery.proxy))
  }
}

extension Mapping: CustomStringConvertible {
  var description: String { pair.description }
}

/// A port that is held for whoever maps it.
struct Reservation: Equatable, Sendable {
  let id: String
  let transport: Transport
  let hostIP: HostAddress
  let port: UInt16
  /// Whether it is bound without listening, for a server that binds the port itself.
  var isLent = false
  /// The command that it lives as long as.
  var scope: ProcessIdentity?
  /// The line that declares it; nil where it was made by hand.
  var origin: Origin?

  var ports: PortRange { PortRange(first: port, count: 1) ?? .unknown }
}

extension Reservation: CustomStringConvertible {
  /// What unmap takes to mean this reservation: `127.0.0.1:8080/udp`.
  var description: String { "\(hostIP.prefix)\(port)\(transport.suffix)" }
}

/// An address of a bridge network that was given out.
struct AllocatedAddress: Codable, Equatable, Sendable {
  let ip: IPAddress
  let bridge: String
  /// What it is called, and the network namespace that it is plugged into where `link` says so.
  var name: String?
  /// The host's end of the pair of links that leads to the namespace.
  var link: String?
  /// Whether a map that named no backend has taken it: it goes with its last mapping.
  var isImplicit = false
  /// The line that declares it; nil where it was made by hand.
  var origin: Origin?

  /// `172.16.42.2 (web)`
  var title: String { "\(ip)" + (name.map { " (\($0))" } ?? "") }
}
