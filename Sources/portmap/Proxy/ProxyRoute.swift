import Glibc

/// The way of one frontend's traffic: where it goes, and how.
struct ProxyRoute: Sendable {
  let transport: Transport
  let backend: SocketAddress
  /// The header that each TCP connection to the backend begins with; other transports have none.
  var proxyProtocol: ProxyProtocol?
  /// Seconds without traffic in either direction after which a udp client is forgotten.
  var udpTimeout = 90

  init(
    transport: Transport,
    backend: SocketAddress,
    proxyProtocol: ProxyProtocol? = nil,
    udpTimeout: Int = 90
  ) {
    self.transport = transport
    self.backend = backend
    self.proxyProtocol = proxyProtocol
    self.udpTimeout = udpTimeout
  }
}

extension ProxyRoute {
  /// The kind of the sockets that it opens to its backend.
  var backendSocket: SocketKind { SocketKind(transport, backend.ip.family) }
}
