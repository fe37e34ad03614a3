/// The mappings that an attachment asks for.
struct AttachmentPorts: Equatable {
  /// A mapping as it is to be made.
  struct Wanted: Equatable {
    let pair: PortPair
    let delivery: Delivery
    /// Further matches of its DNAT rule.
    let conditions: [String]
  }

  private(set) var wanted: [Wanted] = []
  /// Whether host ports are held.
  let isReserved: Bool

  /// - Parameters:
  ///   - backends: The container's addresses, one of each family at most.
  ///   - isReserved: Whether host ports are held. Otherwise there is no proxy: somebody else has the port.
  init(
    _ settings: PortSettings,
    to backends: [IPAddress.Family: IPAddress],
    isReserved: Bool
  ) throws(CNIError) {
    self.isReserved = isReserved
    for run in try PortRun.runs(of: settings.ports) {
      let hosts = Self.hosts(of: run, backends)
      guard !hosts.isEmpty else {
        throw CNIError(
          .invalidConfiguration,
          "the container has no address",
          "prevResult has no address of the interface for host port \(run.first.hostPort)"
        )
      }
      for (host, backend) in hosts {
        if let one = try mapping(run, host, backend, settings) { wanted.append(one) }
      }
    }
  }

  /// Where the ports of each host address lead: those of every address to the container's own address of the family
  /// where it has both, and to the one that it has otherwise.
  private static func hosts(
    of run: PortRun,
    _ backends: [IPAddress.Family: IPAddress]
  ) -> [(HostAddress, IPAddress)] {
    guard let address = run.first.hostIP.address else {
      if let v4 = backends[.v4], let v6 = backends[.v6] { return [(.one(.anyV4), v4), (.one(.anyV6), v6)] }
      return backends.values.map { (.every, $0) }
    }
    return (backends[address.family] ?? backends.values.first).map { [(run.first.hostIP, $0)] } ?? []
  }

  /// - Returns: Nil where nothing could lead packets there: the host address is of another family than the container's,
  ///   and there is no proxy. The original plugin passes over such entries too.
  private func mapping(
    _ run: PortRun,
    _ host: HostAddress,
    _ backend: IPAddress,
    _ settings: PortSettings
  ) throws(CNIError) -> Wanted? {
    let isConditional = settings.isConditional(backend.family)
    if isConditional, host.isLoopback {
      throw CNIError(
        .unsupportedField,
        "unsupported hostIP",
        "hostIP is '\(host)': conditions are for rules, and none leads there"
      )
    }
    // A proxy would go around the conditions, and without a socket there is nothing that it could serve.
    let mode: MapRequest.Mode = isConditional || !isReserved ? .noProxy : .full
    guard let delivery = Self.delivery(host, backend, mode, settings, isReserved: isReserved) else {
      return nil
    }
    let pair = PortPair(
      transport: run.first.transport,
      hostIP: host,
      hostPorts: run.hostPorts,
      backendIP: backend,
      backendPorts: run.containerPorts
    )
    let conditions = delivery.nat ? settings.conditions[backend.family] ?? [] : []
    return Wanted(pair: pair, delivery: delivery, conditions: conditions)
  }

  private static func delivery(
    _ host: HostAddress,
    _ backend: IPAddress,
    _ mode: MapRequest.Mode,
    _ settings: PortSettings,
    isReserved: Bool
  ) -> Delivery? {
    let request = MapRequest(
      specs: [],
      mode: mode,
      hostAddresses: [host],
      to: "\(backend)",
      bridge: nil,
      range: .automatic,
      masquerade: settings.masqueradesAll && settings.snat,
      proxyProtocol: nil
    )
    // What is on a loopback address and held by somebody else has no rule, only entries on connect(2), and keeps others
    // of portmap off.
    let none = Delivery(rules: false, nat: false, proxy: false)
    guard var delivery = (try? request.delivery(from: host, to: backend)) ?? (host.isLoopback ? none : nil)
    else { return nil }
    delivery.hairpin = settings.snat
    return delivery
  }
}

/// Consecutive ports that lead to consecutive ports: one mapping, and one rule.
struct PortRun: Equatable {
  let first: PortMapEntry
  private(set) var count = 1

  var hostPorts: PortRange { PortRange(first: first.hostPort, count: count) ?? .unknown }
  var containerPorts: PortRange { PortRange(first: first.containerPort, count: count) ?? .unknown }

  /// Joins entries, in the order of host addresses as they come first and of ports.
  ///
  /// - Throws: CNIError where a host port is to lead to two ports.
  static func runs(of entries: [PortMapEntry]) throws(CNIError) -> [PortRun] {
    let entries = try withoutRepetitions(entries)
    struct Side: Hashable {
      let hostIP: HostAddress
      let transport: Transport
    }
    var places: [Side: Int] = [:]
    for entry in entries {
      let side = Side(hostIP: entry.hostIP, transport: entry.transport)
      places[side] = places[side] ?? places.count
    }
    func place(_ entry: PortMapEntry) -> Int {
      places[Side(hostIP: entry.hostIP, transport: entry.transport)] ?? 0
    }
    let sorted = entries.sorted { (place($0), $0.hostPort) < (place($1), $1.hostPort) }
    return sorted.reduce(into: []) { runs, entry in
      if let last = runs.last, last.continues(with: entry) {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(PortRun(first: entry))
      }
    }
  }

  private func continues(with entry: PortMapEntry) -> Bool {
    first.hostIP == entry.hostIP && first.transport == entry.transport
      && Int(entry.hostPort) - Int(first.hostPort) == count
      && Int(entry.containerPort) - Int(first.containerPort) == count
  }

  /// Leaves out entries that another one covers.
  private static func withoutRepetitions(_ entries: [PortMapEntry]) throws(CNIError) -> [PortMapEntry] {
    struct Port: Hashable {
      let transport: Transport
      let number: UInt16
    }
    var kept: [Port: [PortMapEntry]] = [:]
    var order: [Port] = []
    for entry in entries {
      let port = Port(transport: entry.transport, number: entry.hostPort)
      var others = kept[port] ?? []
      if others.isEmpty { order.append(port) }
      let same = others.filter { $0.hostIP.overlaps(entry.hostIP) }
      guard same.allSatisfy({ $0.containerPort == entry.containerPort }) else {
        throw CNIError(
          .invalidConfiguration,
          "invalid portMappings",
          "host port \(entry.hostIP.prefix)\(entry.hostPort)\(entry.transport.suffix) is to lead to two ports"
        )
      }
      if same.contains(where: { $0.hostIP.covers(entry.hostIP) }) { continue }
      others.removeAll { entry.hostIP.covers($0.hostIP) }
      kept[port] = others + [entry]
    }
    return order.flatMap { kept[$0] ?? [] }
  }
}

extension HostAddress {
  /// Whether a port here gets all packets that the same port there would get.
  fileprivate func covers(_ other: HostAddress) -> Bool {
    guard let address else { return true }
    return self == other || (address.isUnspecified && other.address?.family == address.family)
  }
}
