/// The JSON documents of the contract: keys are only ever added.
struct MappingDocument: Encodable {
  let backendIP: IPAddress
  let backendPort: UInt16
  let backendPortEnd: UInt16
  let hostIP: HostAddress
  let hostPort: UInt16
  let hostPortEnd: UInt16
  let id: String
  let nat: Bool
  let pid: Int32
  let `protocol`: Transport
  let proxy: Bool
  let status: String

  init(_ mapping: Mapping, _ state: State) {
    backendIP = mapping.backendIP
    backendPort = mapping.backendPort
    backendPortEnd = mapping.backendPortEnd
    hostIP = mapping.hostIP
    hostPort = mapping.hostPort
    hostPortEnd = mapping.hostPortEnd
    id = mapping.id
    nat = mapping.nat
    pid = state.holder(mapping.holder)?.process.pid ?? 0
    self.protocol = mapping.transport
    proxy = mapping.proxy
    status = mapping.status.rawValue
  }
}

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

/// An address with its ports in the manner of `docker inspect`: backend to host, one dictionary a protocol.
struct AddressDocument: Encodable {
  let bridge: String
  let gateway: IPAddress?
  let ip: IPAddress
  let name: String
  let portMapping: [String: [String: String]]
  let prefixLength: Int?

  init(_ lease: AddressLease, _ state: State) {
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

struct ListDocument: Encodable {
  let addresses: [AddressDocument]
  let mappings: [MappingDocument]
  let reservations: [ReservationDocument]
}
