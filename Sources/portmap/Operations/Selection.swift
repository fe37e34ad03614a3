/// What targets mean: the mappings, reservations and addresses that a command is told about.
struct Selection: Equatable {
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

  /// What all of some targets mean together.
  func selection(_ targets: [Target]) -> Selection {
    targets.reduce(into: Selection()) { $0.formUnion(selection($1)) }
  }

  /// What a target means.
  func selection(_ target: Target) -> Selection {
    var selection = Selection()
    switch target {
    case .ports(let spec):
      guard let ports = spec.ports else { break }
      for transport in spec.transports.transports {
        selection.formUnion(self.selection(spec.hostAddress, ports, transport))
      }
    case .spec(let spec, _):
      selection.mappings = Set(mappings.filter { $0.mapping.pair.isMade(from: spec) }.map(\.id))
    case .line(let line):
      selection.mappings = Set(mappings.filter { "\($0.mapping)" == line }.map(\.id))
    case .address(let address):
      selection.mappings = Set(mappings.filter { $0.backendIP == address }.map(\.id))
      selection.addresses = Set(addresses.map(\.ip).filter { $0 == address })
    case .name(let name):
      for lease in addresses where lease.name == name {
        selection.formUnion(self.selection(.address(lease.ip)))
      }
    case .id(let id):
      selection.mappings = Set(mappings.map(\.id).filter { $0 == id })
      selection.reservations = Set(reservations.map(\.id).filter { $0 == id })
    }
    return selection
  }

  /// Finds the mappings of just these ports, and the reservations among them: a range is mapped as a whole and reserved
  /// port by port.
  private func selection(_ host: HostAddress, _ ports: PortRange, _ transport: Transport) -> Selection {
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

extension PortPair {
  /// Whether a spec, given to map, could have brought about a mapping of these ports.
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
