/// The PROXY protocol's header (haproxy's proxy-protocol.txt), which tells a backend who the client is.
enum ProxyHeader {
  /// The bytes to send before a connection's data. An IPv4 client of a dual-stack socket is written as IPv4.
  static func encode(_ version: ProxyProtocol, client: SocketAddress, server: SocketAddress) -> [UInt8] {
    let source = client.unmapped
    let destination = server.unmapped
    switch version {
    case .v1: return text(source, destination)
    case .v2: return binary(source, destination)
    }
  }

  private static func text(_ source: SocketAddress, _ destination: SocketAddress) -> [UInt8] {
    let family = source.ip.family == .v4 ? "TCP4" : "TCP6"
    return Array("PROXY \(family) \(source.ip) \(destination.ip) \(source.port) \(destination.port)\r\n".utf8)
  }

  private static func binary(_ source: SocketAddress, _ destination: SocketAddress) -> [UInt8] {
    let addresses = source.ip.bytes + destination.ip.bytes
    var header: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
    header.append(0x21)  // version 2, PROXY
    header.append(source.ip.family == .v4 ? 0x11 : 0x21)  // a stream over IPv4 or IPv6
    header.append(contentsOf: networkOrder(UInt16(addresses.count + 4)))
    header.append(contentsOf: addresses)
    header.append(contentsOf: networkOrder(source.port))
    header.append(contentsOf: networkOrder(destination.port))
    return header
  }

  private static func networkOrder(_ value: UInt16) -> [UInt8] {
    [UInt8(value >> 8), UInt8(value & 0xFF)]
  }
}

extension SocketAddress {
  /// The IPv4 address inside a v4-mapped one; any other as it is.
  var unmapped: SocketAddress {
    guard ip.isIPv4Mapped else { return self }
    return SocketAddress(IPAddress(v4: UInt32(truncatingIfNeeded: ip.value)), port: port)
  }
}
