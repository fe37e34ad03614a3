// The JSON documents of the contract: keys are only ever added.

/// A mapping, or a pair of `proxy`, which has no id, no process of its own and no status.
struct MappingDocument: Encodable {
  let backendIP: IPAddress
  let backendPort: UInt16
  let backendPortEnd: UInt16
  private(set) var connect: Bool?
  let hostIP: HostAddress
  let hostPort: UInt16
  let hostPortEnd: UInt16
  private(set) var id: String?
  /// The network namespace that it leads into, as it was given; empty for portmap's own.
  private(set) var into: String?
  private(set) var nat: Bool?
  private(set) var origin: String?
  private(set) var pid: Int32?
  let `protocol`: Transport
  private(set) var proxy: Bool?
  /// Present, and false, where no background process holds the port.
  private(set) var reserve: Bool?
  /// What has gone through, where that was asked for.
  private(set) var stats: StatisticsDocument?
  private(set) var status: String?

  /// - Parameter into: The namespace that `proxy` leads into.
  init(_ pair: PortPair, into: NamespaceName? = nil) {
    self.into = into?.text
    backendIP = pair.backendIP
    backendPort = pair.backendPorts.first
    backendPortEnd = pair.backendPorts.last
    hostIP = pair.hostIP
    hostPort = pair.hostPorts.first
    hostPortEnd = pair.hostPorts.last
    self.protocol = pair.transport
  }

  init(_ record: MappingRecord, _ state: State, _ statistics: Statistics? = nil) {
    self.init(record.mapping.pair)
    into = record.mapping.into?.name.text ?? ""
    stats = statistics.map { StatisticsDocument($0.of(record)) }
    id = record.mapping.id
    connect = record.mapping.delivery.connect
    nat = record.mapping.delivery.nat
    origin = record.mapping.origin?.name ?? ""
    pid = state.holder(record.holder)?.process.pid ?? 0
    proxy = record.mapping.delivery.proxy
    reserve = record.holder.isEmpty ? false : nil
    status = record.status.rawValue
  }
}

/// A reserved port.
struct ReservationDocument: Encodable {
  let hostIP: HostAddress
  let id: String
  /// What declares it; empty where it was made by hand.
  let origin: String
  let pid: Int32
  let port: UInt16
  let `protocol`: Transport

  init(_ reservation: ReservationRecord, _ state: State) {
    hostIP = reservation.hostIP
    id = reservation.id
    origin = reservation.origin?.name ?? ""
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
  let origin: String
  let portMapping: [String: [String: String]]
  let prefixLength: Int?

  init(_ address: AllocatedAddress, _ state: State) {
    let bridge = state.bridge(address.bridge)
    self.bridge = address.bridge
    gateway = bridge?.subnet.address
    ip = address.ip
    name = address.name ?? ""
    origin = address.origin?.name ?? ""
    prefixLength = bridge?.subnet.prefixLength
    var ports: [String: [String: String]] = ["Tcp": [:], "Udp": [:]]
    for mapping in state.mappings where mapping.backendIP == address.ip {
      let key = mapping.transport.rawValue.prefix(1).uppercased() + mapping.transport.rawValue.dropFirst()
      for (hostPort, backendPort) in zip(mapping.hostPorts.ports, mapping.backendPorts.ports) {
        ports[key, default: [:]]["\(backendPort)"] = "\(hostPort)"
      }
    }
    portMapping = ports
  }
}

/// A difference, or a note where nothing has to be mended.
struct DifferenceDocument: Encodable {
  /// Present, and true, for a note.
  private(set) var note: Bool?
  let problem: String
  let subject: String

  init(_ difference: Difference) {
    note = difference.isNote ? true : nil
    problem = difference.problem
    subject = difference.subject
  }
}

/// All that list finds, and all that unmap releases.
struct ListDocument: Encodable {
  let addresses: [AddressDocument]
  let mappings: [MappingDocument]
  let reservations: [ReservationDocument]
}
