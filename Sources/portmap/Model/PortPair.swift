/// Ports of the host and as many ports of a backend that they lead to.
struct PortPair: Equatable, Sendable {
  let transport: Transport
  let hostIP: HostAddress
  let hostPorts: PortRange
  let backendIP: IPAddress
  let backendPorts: PortRange

  /// `8080`, `127.0.0.1:8000-8010`: the host's side without the transport.
  var frontend: String { "\(hostIP.prefix)\(hostPorts)" }

  /// The frontend with the transport, `8080/udp`: what unmap takes to mean it.
  var target: String { frontend + transport.suffix }

  /// The flows that a mapping of these ports has to do with.
  var flows: FlowFilter {
    FlowFilter(transport: transport, hostIP: hostIP, first: hostPorts.first, last: hostPorts.last)
  }
}

/// What leads ports of the host to a backend, and is asked about them as they are.
protocol PortMapping {
  var pair: PortPair { get }
}

extension PortMapping {
  var transport: Transport { pair.transport }
  var hostIP: HostAddress { pair.hostIP }
  var hostPorts: PortRange { pair.hostPorts }
  var backendIP: IPAddress { pair.backendIP }
  var backendPorts: PortRange { pair.backendPorts }
  var frontend: String { pair.frontend }
  var target: String { pair.target }
  var flows: FlowFilter { pair.flows }
}

extension PortPair: CustomStringConvertible {
  /// The notation of `docker ps`: `8080->172.16.42.2:80/udp`.
  var description: String {
    "\(frontend)->\(backendIP.bracketed):\(backendPorts)\(transport.suffix)"
  }
}
