/// An operand of `alloc`, and a port as `unmap` takes it: `[HOST_IP:]PORT[-END][/PROTO]`.
struct ReservationSpec: Equatable, Sendable {
  let hostAddress: HostAddress
  /// Nil for 0: any port.
  let ports: PortRange?
  let transports: TransportChoice

  /// Makes the spec of any one port of a transport, on every address.
  init(any transports: TransportChoice) {
    hostAddress = .every
    ports = nil
    self.transports = transports
  }

  /// Reads a spec.
  ///
  /// - Throws: SpecError, which quotes `text` and says what was expected.
  init(_ text: String) throws(SpecError) {
    let (body, transports) = try SpecText.splitTransport(text)
    self.transports = transports
    let (address, rest) = try SpecText.splitAddress(body, of: text, portsBehind: 1)
    hostAddress = address
    if PortRange.port(rest) == 0 {
      ports = nil
    } else if let range = PortRange(rest) {
      ports = range
    } else {
      throw SpecError(
        text: text,
        expected: "[HOST_IP:]PORT[-END][/PROTO] with ports 0-65535, a range ascending, and no backend"
      )
    }
  }
  /// Whether both name a port of the same address and transport.
  func overlaps(_ other: ReservationSpec) -> Bool {
    guard let ports, let others = other.ports else { return false }
    return ports.overlaps(others) && hostAddress.overlaps(other.hostAddress)
      && !Set(transports.transports).isDisjoint(with: other.transports.transports)
  }
}
