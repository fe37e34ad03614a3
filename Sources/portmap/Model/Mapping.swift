/// One mapping: ports of the host that lead to as many ports of a backend.
struct Mapping: Equatable, Sendable {
  enum Status: String, Sendable {
    case active
    /// Its removal failed half-way: unmapping it again, or `repair`, finishes it.
    case broken
  }

  let id: String
  let transport: Transport
  let hostIP: HostAddress
  let hostPort: UInt16
  let hostPortEnd: UInt16
  let backendIP: IPAddress
  let backendPort: UInt16
  let backendPortEnd: UInt16
  /// Whether rules lead there.
  let nat: Bool
  /// Whether the background process forwards what no rule takes.
  let proxy: Bool
  /// Whether the source address of all its traffic is rewritten.
  var masquerade = false
  var proxyProtocol: ProxyProtocol?
  /// The background process that has its sockets.
  var holder: String
  /// The rules that are its own, as they were installed.
  var rules: [Rule] = []
  /// The call that made it.
  var serial = 0
  var status = Status.active
  /// The command that it lives as long as.
  var scope: ProcessIdentity?

  var hostPorts: PortRange { PortRange(first: hostPort, last: hostPortEnd) ?? .unknown }
  var backendPorts: PortRange { PortRange(first: backendPort, last: backendPortEnd) ?? .unknown }

  /// What leads where.
  var pair: PortPair {
    PortPair(
      transport: transport,
      hostIP: hostIP,
      hostPorts: hostPorts,
      backendIP: backendIP,
      backendPorts: backendPorts
    )
  }
}

extension Mapping: CustomStringConvertible {
  var description: String { pair.description }

  /// What unmap takes to mean this mapping and no other: `8080/udp`.
  var target: String { pair.frontend + transport.suffix }
}

extension Transport {
  /// `/udp`; nothing for tcp, which needs no saying.
  var suffix: String { self == .tcp ? "" : "/\(rawValue)" }
}

/// A port that is held for whoever maps it.
struct Reservation: Equatable, Sendable {
  let id: String
  let transport: Transport
  let hostIP: HostAddress
  let port: UInt16
  /// The background process that has its socket; empty where the command of its scope has it itself.
  var holder: String
  /// Bound without listening, for a server that binds the port itself.
  var lent = false
  /// The command that it lives as long as.
  var scope: ProcessIdentity?

  var target: String { "\(hostIP.prefix)\(port)\(transport.suffix)" }
}

/// An address of a bridge network that was given out.
struct AllocatedAddress: Codable, Equatable, Sendable {
  let ip: IPAddress
  let bridge: String
  /// What it is called, and the network namespace that it is plugged into where `link` says so.
  var name: String?
  /// The host's end of the pair of links that leads to the namespace.
  var link: String?
  /// Given out by a map that named no backend: it goes with its last mapping.
  var isImplicit = false
}
