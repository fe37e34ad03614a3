/// What a background process knows of a mapping or a reservation whose sockets it holds: enough to serve it, and to
/// tell what it was should the state file be lost.
struct Holding: Equatable, Sendable {
  /// The id of the mapping or reservation.
  let id: String
  let transport: Transport
  let hostIP: HostAddress
  let ports: PortRange
  /// Whether it is bound without listening, for a server that binds the port itself.
  var isLent = false
  /// Nil for a reservation.
  var backend: Backend?

  struct Backend: Equatable, Sendable {
    let ip: IPAddress
    /// The port that the first of the lease's ports leads to; the others follow.
    let firstPort: UInt16
    /// Whether the process forwards what arrives; otherwise the sockets stay behind their filter.
    let proxy: Bool
    let nat: Bool
    /// Whether it has rules at all: one that goes through the proxy alone by choice has none.
    let rules: Bool
    let masquerade: Bool
    let proxyProtocol: ProxyProtocol?
  }
}
