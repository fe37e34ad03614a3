/// A ledger of the ports that portmap has given out.
struct PortLedger {
  private let mappings: [Transport: [(host: HostAddress, ports: PortRange, mapping: Mapping)]]
  private let reservations: [Transport: [UInt16: [Reservation]]]
  /// Whether a port of a transport is given out on any address, by port: most questions end here.
  private let given: [Transport: [Bool]]

  init(mappings: [Mapping], reservations: [Reservation]) {
    var given: [Transport: [Bool]] = [:]
    func mark(_ transport: Transport, _ ports: PortRange) {
      for port in ports.ports {
        given[transport, default: Array(repeating: false, count: 65536)][Int(port)] = true
      }
    }
    var byTransport: [Transport: [(HostAddress, PortRange, Mapping)]] = [:]
    for mapping in mappings {
      mark(mapping.transport, mapping.hostPorts)
      byTransport[mapping.transport, default: []].append((mapping.hostIP, mapping.hostPorts, mapping))
    }
    var byPort: [Transport: [UInt16: [Reservation]]] = [:]
    for reservation in reservations {
      if let port = PortRange(first: reservation.port, count: 1) { mark(reservation.transport, port) }
      byPort[reservation.transport, default: [:]][reservation.port, default: []].append(reservation)
    }
    self.mappings = byTransport
    self.reservations = byPort
    self.given = given
  }

  /// Whether a port is given out on any address.
  func isGiven(_ transport: Transport, _ port: UInt16) -> Bool { given[transport]?[Int(port)] ?? false }

  /// The owner of a port on an address, or on one that overlaps it; nil where there is none.
  func owner(_ transport: Transport, _ host: HostAddress, _ port: UInt16) -> Holding? {
    guard isGiven(transport, port) else { return nil }
    if let reservation = reservations[transport]?[port]?.first(where: { $0.hostIP.overlaps(host) }) {
      return .reservation(reservation)
    }
    let found = mappings[transport]?.first { $0.ports.contains(port) && $0.host.overlaps(host) }
    return found.map { .mapping($0.mapping) }
  }
}
