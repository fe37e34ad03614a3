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
    let kind = transport.isConnectionOriented ? SOCK_STREAM : SOCK_DGRAM
    let type = Int32(kind.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    return try Descriptor("socket", about: subject) {
      Glibc.socket(family == .v4 ? AF_INET : AF_INET6, type, transport.number)
    }
  }
}
