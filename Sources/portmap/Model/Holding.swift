/// What a background process holds the sockets of.
enum Holding: Equatable, Sendable {
  case mapping(Mapping)
  case reservation(Reservation)

  var id: String {
    switch self {
    case .mapping(let mapping): mapping.id
    case .reservation(let reservation): reservation.id
    }
  }

  var transport: Transport {
    switch self {
    case .mapping(let mapping): mapping.transport
    case .reservation(let reservation): reservation.transport
    }
  }

  var hostIP: HostAddress {
    switch self {
    case .mapping(let mapping): mapping.hostIP
    case .reservation(let reservation): reservation.hostIP
    }
  }

  /// The host ports, a socket each.
  var ports: PortRange {
    switch self {
    case .mapping(let mapping): mapping.hostPorts
    case .reservation(let reservation): reservation.ports
    }
  }

  /// Whether the port is bound without listening.
  var isLent: Bool {
    if case .reservation(let reservation) = self { reservation.isLent } else { false }
  }

  /// The network namespace that its proxy connects from; nil for portmap's own.
  var guest: GuestNamespace? {
    if case .mapping(let mapping) = self { mapping.into } else { nil }
  }

  /// Whether the background process forwards what arrives; otherwise the sockets stay behind their filter.
  var isProxied: Bool {
    if case .mapping(let mapping) = self { mapping.delivery.proxy } else { false }
  }
}

extension Holding: CustomStringConvertible {
  /// The host's side: `127.0.0.1:8000-8010/udp`.
  var description: String { "\(hostIP.prefix)\(ports)\(transport.suffix)" }
}
