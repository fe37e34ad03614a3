import CLinux
import Glibc

extension Transport {
  /// The protocol's number in the IP header.
  var number: Int32 {
    switch self {
    case .tcp: Int32(IPPROTO_TCP)
    case .udp: Int32(IPPROTO_UDP)
    case .sctp: Int32(IPPROTO_SCTP)
    }
  }

  /// The type of its sockets, without flags.
  var socketType: Int32 { Int32((isConnectionOriented ? SOCK_STREAM : SOCK_DGRAM).rawValue) }

  /// The transport with a protocol's number; nil for one whose ports cannot be mapped.
  init?(number: Int32) {
    guard let transport = Self.allCases.first(where: { $0.number == number }) else { return nil }
    self = transport
  }
}

extension Descriptor {
  /// Opens a socket that does not block and is not inherited.
  static func socket(
    _ transport: Transport,
    _ family: IPAddress.Family,
    about subject: String? = nil
  ) throws(SystemError) -> Descriptor {
    let kind = SocketKind(transport, family)
    let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    return try Descriptor("socket", about: subject) {
      Glibc.socket(kind.family, kind.type | flags, kind.number)
    }
  }
}

/// The arguments with which a socket is opened: family, type without flags, protocol.
struct SocketKind: Hashable {
  let family: Int32
  let type: Int32
  let number: Int32

  init(_ transport: Transport, _ family: IPAddress.Family) {
    self.family = family == .v4 ? AF_INET : AF_INET6
    type = transport.socketType
    number = transport.number
  }
}
