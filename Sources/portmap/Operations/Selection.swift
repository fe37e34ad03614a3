/// The mappings, reservations and addresses that targets mean.
struct Selection {
  var mappings: Set<String> = []
  var reservations: Set<String> = []
  var addresses: Set<IPAddress> = []

  var isEmpty: Bool { mappings.isEmpty && reservations.isEmpty && addresses.isEmpty }

  mutating func formUnion(_ other: Selection) {
    mappings.formUnion(other.mappings)
    reservations.formUnion(other.reservations)
    addresses.formUnion(other.addresses)
  }
}

extension State {
  /// All mappings, reservations and addresses.
  var everything: Selection {
    Selection(
      mappings: Set(mappings.map(\.id)),
      reservations: Set(reservations.map(\.id)),
      addresses: Set(addresses.map(\.ip))
    )
  }

  /// Finds what a target means.
  func match(_ target: Target) -> Selection {
    var match = Selection()
    switch target {
    case .ports(let spec):
      guard let ports = spec.ports else { break }
      for transport in spec.transports.transports {
        match.formUnion(self.match(spec.hostAddress, ports, transport))
      }
    case .spec(let spec, _):
      match.mappings = Set(mappings.filter { $0.isMade(from: spec) }.map(\.id))
    case .line(let line):
      match.mappings = Set(mappings.filter { $0.description == line }.map(\.id))
    case .address(let address):
      match.mappings = Set(mappings.filter { $0.backendIP == address }.map(\.id))
      match.addresses = Set(addresses.map(\.ip).filter { $0 == address })
    case .name(let name):
      for lease in addresses where lease.name == name { match.formUnion(self.match(.address(lease.ip))) }
    case .id(let id):
      match.mappings = Set(mappings.map(\.id).filter { $0 == id })
      match.reservations = Set(reservations.map(\.id).filter { $0 == id })
    }
    return match
  }

  /// Finds the mappings of just these ports, and the reservations among them: a range is mapped as a whole and reserved
  /// port by port.
  private func match(_ host: HostAddress, _ ports: PortRange, _ transport: Transport) -> Selection {
    func isThere(_ other: HostAddress) -> Bool { host == .every || host == other }
    return Selection(
      mappings: Set(
        mappings.filter { $0.transport == transport && $0.hostPorts == ports && isThere($0.hostIP) }.map(\.id)
      ),
      reservations: Set(
        reservations.filter { $0.transport == transport && ports.contains($0.port) && isThere($0.hostIP) }
          .map(\.id)
      )
    )
  }
}

extension Mapping {
  /// Whether a spec, given to map, could have brought about this mapping.
  fileprivate func isMade(from spec: PortSpec) -> Bool {
    guard spec.transports.transports.contains(transport), backendPorts == spec.backend,
      spec.hostAddress == .every || spec.hostAddress == hostIP
    else { return false }
    switch spec.frontend {
    case .allocated: return true
    case .fixed(let ports): return ports == hostPorts
    case .anyOf(let range): return range.contains(hostPorts)
    }
  }
}

extension Target {
  /// The transports that it names; none where it is no port.
  var transports: [Transport] {
    switch self {
    case .ports(let spec): spec.transports.transports
    case .spec(let spec, _): spec.transports.transports
    default: []
    }
  }

  /// Says that the target is nowhere.
  var absence: String { absence(of: transports) }

  /// Says that the target is nowhere for these of its transports.
  func absence(of transports: [Transport]) -> String {
    let names = transports.map(\.rawValue).joined(separator: "+")
    switch self {
    case .ports(let spec):
      return "port \(names)/\(spec.hostAddress.prefix)\(spec.ports ?? .unknown) is not mapped"
    case .spec(_, let typed):
      let isAll = transports == self.transports
      return "\(isAll ? typed : "\(typed.prefix { $0 != "/" })/\(names)") is not mapped"
    case .line(let line): return "\(line) is not mapped"
    case .address(let address): return "address \(address) is not allocated, and nothing is mapped to it"
    case .name(let name): return "no address is called '\(name)'"
    case .id(let id): return "no mapping or reservation has the id \(id)"
    }
  }
}
