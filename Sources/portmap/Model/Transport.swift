/// The transport protocols whose ports can be mapped and reserved, by the names that iptables and
/// `/etc/protocols` use.
enum Transport: String, Codable, CaseIterable, Sendable {
  case tcp, udp, sctp

  /// Whether its sockets listen and accept, as opposed to receiving datagrams from anybody.
  var isConnectionOriented: Bool { self != .udp }

  /// What stands behind a port: `/udp`; nothing for tcp, which needs no saying.
  var suffix: String { self == .tcp ? "" : "/\(rawValue)" }
}

/// The `/PROTO` part of a spec: one transport, or `tcp+udp` for the same port of both.
enum TransportChoice: Equatable, Sendable {
  case one(Transport)
  case tcpAndUDP

  /// Reads `tcp`, `udp`, `sctp` or `tcp+udp`, in lower case only; nil for anything else.
  init?(_ text: Substring) {
    if text == "tcp+udp" {
      self = .tcpAndUDP
    } else if let transport = Transport(rawValue: String(text)) {
      self = .one(transport)
    } else {
      return nil
    }
  }

  var transports: [Transport] {
    switch self {
    case .one(let transport): [transport]
    case .tcpAndUDP: [.tcp, .udp]
    }
  }
}
