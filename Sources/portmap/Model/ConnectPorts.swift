/// Loopback ports of a network namespace whose connections are led on as they connect.
struct ConnectPorts: TextCodable, Hashable, Sendable {
  /// The loopback address, or the unspecified one for every loopback address of its family.
  let address: IPAddress
  let ports: PortRange

  init(_ address: IPAddress, _ ports: PortRange) {
    self.address = address
    self.ports = ports
  }

  /// Reads `0.0.0.0 8000 8010`.
  init?(text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 3, let address = IPAddress(words[0]), let first = UInt16(words[1]),
      let last = UInt16(words[2]), let ports = PortRange(first: first, last: last)
    else { return nil }
    self.init(address, ports)
  }

  var text: String { "\(address) \(ports.first) \(ports.last)" }
}

extension ConnectPorts: CustomStringConvertible {
  /// What addresses it is about.
  var destination: String {
    guard address.isUnspecified else { return "\(address)" }
    return address.family == .v4 ? "127.0.0.0/8" : "::1"
  }

  /// `127.0.0.0/8 port 8000-8010`
  var description: String { "\(destination) port \(ports)" }
}

/// Loopback ports and the ports of a backend to which their connections are led.
struct ConnectRoute: Hashable, Sendable {
  let ports: ConnectPorts
  let backendIP: IPAddress
  let backendPorts: PortRange
}

extension Mapping {
  /// Whether a program on connect(2) could lead its loopback connections: a TCP mapping with rules of every address of
  /// the backend's family.
  var mayBeConnected: Bool {
    pair.transport == .tcp && delivery.nat && (pair.hostIP.address?.isUnspecified ?? true)
  }

  /// Where its loopback connections are led as they connect; nil where they are not.
  var connectRoute: ConnectRoute? {
    guard delivery.connect else { return nil }
    let address: IPAddress = pair.backendIP.family == .v4 ? .anyV4 : .anyV6
    return ConnectRoute(
      ports: ConnectPorts(address, pair.hostPorts),
      backendIP: pair.backendIP,
      backendPorts: pair.backendPorts
    )
  }
}

extension Delivery {
  /// What of it was asked for: whether connections can be led as they connect is up to the host.
  var asked: Delivery {
    var asked = self
    asked.connect = false
    return asked
  }
}
