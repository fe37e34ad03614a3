/// A spec of a declaration: the same ports on some host addresses and for some transports.
struct PortGroup {
  struct Member: Hashable {
    let hostIP: HostAddress
    let transport: Transport
  }

  let choice: PortRequest.Choice
  let width: Int
  /// Nil for reservations.
  let backendPorts: PortRange?
  var members: [Member]
  private let hosts: [HostAddress]
  private let transports: [Transport]

  init(
    _ choice: PortRequest.Choice,
    _ width: Int,
    to backendPorts: PortRange?,
    _ hosts: [HostAddress],
    _ transports: [Transport]
  ) {
    self.choice = choice
    self.width = width
    self.backendPorts = backendPorts
    self.hosts = hosts
    self.transports = transports
    members = hosts.flatMap { host in transports.map { Member(hostIP: host, transport: $0) } }
  }

  var isFixed: Bool {
    if case .exactly = choice { true } else { false }
  }

  /// The ports that it asks for by name.
  var fixedPorts: PortRange? {
    if case .exactly(let ports) = choice { ports } else { nil }
  }

  /// Whether it may have these ports.
  func admits(_ ports: PortRange) -> Bool {
    switch choice {
    case .exactly(let wanted): ports == wanted
    case .lowest(let range), .next(let range): ports.count == width && range.contains(ports)
    }
  }

  /// What is to be asked for: all in one where nothing of it is there, since the number has to be the same.
  func needs(at ports: PortRange?) -> [Reconciliation.Need] {
    guard !members.isEmpty else { return [] }
    let choice = ports.map { PortRequest.Choice.exactly($0) } ?? choice
    if members.count == hosts.count * transports.count {
      let request = PortRequest(choice: choice, width: width, hosts: hosts, transports: transports)
      return [Reconciliation.Need(request: request, backendPorts: backendPorts)]
    }
    return members.map { member in
      let request = PortRequest(
        choice: choice,
        width: width,
        hosts: [member.hostIP],
        transports: [member.transport]
      )
      return Reconciliation.Need(request: request, backendPorts: backendPorts)
    }
  }
}

extension MapRequest {
  /// What its specs ask for.
  var groups: [PortGroup] {
    specs.map {
      PortGroup(choice(for: $0), $0.width, to: $0.backend, hosts(of: $0), $0.transports.transports)
    }
  }
}

extension AllocRequest {
  /// What its specs ask for, as often as they are to be had.
  var groups: [PortGroup] {
    specs.flatMap { spec in
      let group = PortGroup(choice(for: spec), 1, to: nil, hosts(of: spec), spec.transports.transports)
      return Array(repeating: group, count: count)
    }
  }
}
