// The JSON documents of the contract: keys are only ever added.

/// A mapping, or a pair of `proxy`, which has no id, no process of its own and no status.
struct MappingDocument: Encodable {
  let backendIP: IPAddress
  let backendPort: UInt16
  let backendPortEnd: UInt16
  let hostIP: HostAddress
  let hostPort: UInt16
  let hostPortEnd: UInt16
  private(set) var id: String?
  private(set) var nat: Bool?
  private(set) var pid: Int32?
  let `protocol`: Transport
  private(set) var proxy: Bool?
  private(set) var status: String?

  init(_ pair: PortPair) {
    backendIP = pair.backendIP
    backendPort = pair.backendPorts.first
    backendPortEnd = pair.backendPorts.last
    hostIP = pair.hostIP
    hostPort = pair.hostPorts.first
    hostPortEnd = pair.hostPorts.last
    self.protocol = pair.transport
  }

  init(_ mapping: Mapping, _ state: State) {
    self.init(mapping.pair)
    id = mapping.id
    nat = mapping.nat
    pid = state.holder(mapping.holder)?.process.pid ?? 0
    proxy = mapping.proxy
    status = mapping.status.rawValue
  }
}

/// A reserved port.
struct ReservationDocument: Encodable {
  let hostIP: HostAddress
  let id: String
  let pid: Int32
  let port: UInt16
  let `protocol`: Transport

  init(_ reservation: Reservation, _ state: State) {
    hostIP = reservation.hostIP
    id = reservation.id
    pid = state.holder(reservation.holder)?.process.pid ?? reservation.scope?.pid ?? 0
    port = reservation.port
    self.protocol = reservation.transport
  }
}

/// An allocated address with its ports in the manner of `docker inspect`: backend to host, one dictionary a protocol.
struct AddressDocument: Encodable {
  let bridge: String
  let gateway: IPAddress?
  let ip: IPAddress
  let name: String
  let portMapping: [String: [String: String]]
  let prefixLength: Int?

  init(_ lease: AllocatedAddress, _ state: State) {
    let bridge = state.bridge(lease.bridge)
    self.bridge = lease.bridge
    gateway = bridge?.subnet.address
    ip = lease.ip
    name = lease.name ?? ""
    prefixLength = bridge?.subnet.prefixLength
    var ports: [String: [String: String]] = ["Tcp": [:], "Udp": [:]]
    for mapping in state.mappings where mapping.backendIP == lease.ip {
      let key = mapping.transport.rawValue.prefix(1).uppercased() + mapping.transport.rawValue.dropFirst()
      for (hostPort, backendPort) in zip(mapping.hostPorts.ports, mapping.backendPorts.ports) {
        ports[key, default: [:]]["\(backendPort)"] = "\(hostPort)"
      }
    }
    portMapping = ports
  }
}

/// All that list finds, and all that unmap releases.
struct ListDocument: Encodable {
  let addresses: [AddressDocument]
  let mappings: [MappingDocument]
  let reservations: [ReservationDocument]
}
