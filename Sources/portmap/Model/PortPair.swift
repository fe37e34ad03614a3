/// Ports of the host and as many ports of a backend that they lead to.
struct PortPair: Equatable, Sendable {
  let transport: Transport
  let hostIP: HostAddress
  let hostPorts: PortRange
  let backendIP: IPAddress
  let backendPorts: PortRange

  /// `8080`, `127.0.0.1:8000-8010`: the host's side without the transport.
  var frontend: String { "\(hostIP.prefix)\(hostPorts)" }
}

extension PortPair: CustomStringConvertible {
  /// The notation of `docker ps`: `8080->172.16.42.2:80/udp`.
  var description: String {
    "\(frontend)->\(backendIP.bracketed):\(backendPorts)\(transport.suffix)"
  }
}
