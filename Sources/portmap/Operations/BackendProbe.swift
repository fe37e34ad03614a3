import Glibc

/// Asks the backends of mappings whether they are there, and finds out why one is not.
///
/// Theory of operation. First each port is asked from this host, all at once; nothing else tells as well whether a
/// connection comes about. Whoever answers is asked once more from an address of another of this host's networks, as
/// the kernel would forward a client's packets from outside: the reply to that has to take the guest's route back.
/// Only of what has failed is more looked up: the route, the neighbour, the kernel's counter of packets that came the
/// wrong way, and the guest's own sockets and routes where it is a process of this host.
struct BackendProbe {
  /// Is told each step.
  let say: (ProbeStep) -> Void
  private let interfaces: Interfaces
  private let lookup: RouteLookup
  /// What the kernel knows of neighbours once all have been asked.
  private var neighbours: [Neighbour] = []
  private var routes: [IPAddress: Result<Route, SystemError>] = [:]
  private var guests: [IPAddress: Guest?] = [:]
  private var listening: [Int32: [Transport: [ListeningSocket]]] = [:]

  init(say: @escaping (ProbeStep) -> Void) throws {
    self.say = say
    interfaces = try Interfaces.current()
    lookup = try RouteLookup()
  }

  /// Asks the backends of mappings that are reached from this network namespace.
  ///
  /// - Returns: What is wrong, in the order of the mappings.
  /// - Throws: Interruption.
  mutating func faults(of mappings: [Mapping]) throws -> [BackendFault] {
    var known: Set<BackendPorts> = []
    let backends = mappings.map(BackendPorts.init).filter { known.insert($0).inserted }
    let forwarded = Set(
      mappings.filter { $0.delivery.nat && !$0.delivery.masquerade }.map(BackendPorts.init)
    )
    for address in Set(backends.map(\.address)) { look(up: address) }
    let counted = ReversePath.dropped()
    let questions = backends.map { backend in backend.asked.map { backend.question($0) } }
    let answers = try ask(questions)
    neighbours = (try? lookup.neighbours()) ?? []
    let isDropping = counted.map { (ReversePath.dropped() ?? $0) > $0 } ?? false
    var faults: [BackendFault] = []
    for (backend, answers) in zip(backends, answers) {
      faults += backend.faults(zip(backend.asked, answers).map { reason(backend, $0, $1, isDropping) })
      if backend.asked.count < backend.ports.count {
        faults.append(backend.fault(.sampled(asked: backend.asked.count), isNote: true))
      }
    }
    let answering = zip(backends, answers).filter { forwarded.contains($0.0) && $0.1.contains(.open) }
    return try faults + waysBack(answering.map { ($0, $1) }) + answering.flatMap { forwarding($0.0) }
  }

  /// Asks ports in one go, and tells what came back.
  func ask(_ questions: [[PortQuestion]], in namespace: Descriptor? = nil) throws -> [[PortAnswer]] {
    var answers = try NamespaceProbe.ask(questions.flatMap { $0 }, in: namespace)[...]
    return questions.map { questions in
      let part = Array(answers.prefix(questions.count))
      answers = answers.dropFirst(questions.count)
      for (question, answer) in zip(questions, part) { say(.asked(question, answer)) }
      return part
    }
  }

  private mutating func look(up address: IPAddress) {
    do {
      let route = try lookup.route(to: address)
      routes[address] = .success(route)
      say(.route(address, route))
    } catch let error as SystemError {
      routes[address] = .failure(error)
      say(.noRoute(address, errno: error.errno))
    } catch {
      routes[address] = nil
    }
  }

  // MARK: reasons

  private mutating func reason(
    _ backend: BackendPorts,
    _ port: UInt16,
    _ answer: PortAnswer,
    _ isDropping: Bool
  )
    -> BackendFault.Reason?
  {
    switch answer {
    case .open: return nil
    case .failed(ECONNREFUSED): return refusal(backend, port)
    case .failed(ENETUNREACH), .failed(EHOSTUNREACH), .failed(EACCES), .failed(EINVAL), .failed(ENETDOWN):
      guard case .success(let route)? = routes[backend.address] else {
        return .noRoute(networks: interfaces.networks(backend.address.family))
      }
      return isMissing(backend.address, route) ? missing(backend.address, route) : .rejected
    case .failed(let errno): return .notAsked(errno: errno)
    case .silent:
      guard case .success(let route)? = routes[backend.address] else { return .silent }
      if isMissing(backend.address, route) { return missing(backend.address, route) }
      // A udp port need not answer.
      return backend.transport == .udp ? nil : silence(backend.address, route, isDropping)
    }
  }

  /// Whether the kernel has asked for an address next door, and nobody has answered.
  private func isMissing(_ address: IPAddress, _ route: Route) -> Bool {
    let next = route.gateway ?? address
    return neighbours.contains { $0.link == route.link && $0.address == next && $0.hardwareAddress == nil }
  }

  private func missing(_ address: IPAddress, _ route: Route) -> BackendFault.Reason {
    otherLink(address, route) ?? .noNeighbour(link: route.link)
  }

  private func silence(_ address: IPAddress, _ route: Route, _ isDropping: Bool) -> BackendFault.Reason {
    if isDropping { return .dropsReversePath(ReversePath.strictLinks(besides: route.link)) }
    if let other = otherLink(address, route) { return other }
    if let gateway = route.gateway, interfaces.subnet(of: address) == nil {
      return .silentBehind(gateway: gateway, link: route.link)
    }
    return .silent
  }

  /// The network that the address is of, where the route leads through another interface.
  private func otherLink(_ address: IPAddress, _ route: Route) -> BackendFault.Reason? {
    let networks = interfaces.entries.filter {
      $0.subnet.contains(address) && $0.subnet.prefixLength < address.family.bits && $0.name != route.link
    }
    guard !route.isLocal, let entry = networks.max(by: { $0.subnet.prefixLength < $1.subnet.prefixLength })
    else {
      return nil
    }
    return .otherLink(route.link, owner: entry.name)
  }

  private mutating func refusal(_ backend: BackendPorts, _ port: UInt16) -> BackendFault.Reason {
    guard let guest = guest(of: backend.address) else { return .refused(listening: []) }
    let sockets = sockets(of: guest, backend.transport)
    let there = sockets.filter { $0.port == port }
    if there.contains(where: { $0.serves(backend.address) }) { return .refusedByFirewall }
    if let loopback = there.first(where: \.ip.isLoopback) { return .listensOnLoopback(loopback.ip) }
    guard backend.ports.isSingle else { return .refused(listening: []) }
    let others = Set(sockets.filter { $0.serves(backend.address) }.map(\.port)).sorted()
    return .refused(listening: Array(others.prefix(5)))
  }

  /// The sockets of a guest. The kernel goes through all that it has to list them: once is enough.
  private mutating func sockets(of guest: Guest, _ transport: Transport) -> [ListeningSocket] {
    if let known = listening[guest.pid]?[transport] { return known }
    let sockets = guest.listening(transport)
    listening[guest.pid, default: [:]][transport] = sockets
    return sockets
  }

  /// The guest that has an address, where it can be seen.
  private mutating func guest(of address: IPAddress) -> Guest? {
    if let known = guests[address] { return known }
    var found: Guest?
    if case .success(let route)? = routes[address], !route.isLocal, route.gateway == nil {
      let hardware = try? lookup.hardwareAddress(of: route.link)
      found = Guest.find(address, host: route.source, hardware: hardware ?? nil)
    }
    guests[address] = .some(found)
    return found
  }

  // MARK: clients of other networks

  /// Asks those that have answered as a client from outside would.
  private mutating func waysBack(_ answering: [(BackendPorts, [PortAnswer])]) throws -> [BackendFault] {
    var asked: [(backend: BackendPorts, question: PortQuestion)] = []
    for (backend, answers) in answering where backend.transport != .udp {
      guard let place = answers.firstIndex(of: .open), let source = foreignAddress(for: backend.address)
      else {
        continue
      }
      var question = backend.question(backend.asked[place])
      question.source = source
      asked.append((backend, question))
    }
    let counted = ReversePath.dropped()
    let answers = try ask([asked.map(\.question)])[0]
    let isDropping = counted.map { (ReversePath.dropped() ?? $0) > $0 } ?? false
    var faults: [BackendFault] = []
    for (asked, answer) in zip(asked, answers) where answer != .open {
      let backend = asked.backend.address
      let reason = lostReply(of: backend, isDropping)
      faults.append(asked.backend.fault(reason, isNote: isTowardsOutside(backend)))
    }
    return faults
  }

  /// Why a reply to another network does not arrive. Where the guest asks for its router's hardware address, the kernel
  /// drops that as it would the reply, and counts nothing.
  private mutating func lostReply(of address: IPAddress, _ isDropping: Bool) -> BackendFault.Reason {
    let strict = ReversePath.strictLinks(besides: link(to: address))
    if isDropping, !strict.isEmpty { return .dropsReversePath(strict) }
    guard address.family == .v4, let gateways = guest(of: address)?.gateways else {
      return .noWayBack(.unknown)
    }
    guard !gateways.isEmpty else { return .noWayBack(.noRoute) }
    let ways = interfaces.entries.filter { gateways.contains($0.subnet.address) }.map(\.name)
    let closed = strict.filter(ways.contains)
    return closed.isEmpty ? .noWayBack(.otherRoute) : .dropsReversePath(closed)
  }

  /// An address of this host that is of another network than the backend, for whose replies it needs a route; nil where
  /// there is none, or a router in between.
  private func foreignAddress(for backend: IPAddress) -> IPAddress? {
    guard case .success(let route)? = routes[backend], !route.isLocal, route.gateway == nil else {
      return nil
    }
    return interfaces.entries.first { entry in
      let address = entry.subnet.address
      return address.family == backend.family && !address.isLoopback && !address.isLinkLocal
        && entry.name != route.link && !entry.subnet.contains(backend)
        && interfaces.subnet(of: backend)?.contains(address) == false
    }?.subnet.address
  }

  private func link(to address: IPAddress) -> String {
    if case .success(let route)? = routes[address] { route.link } else { "" }
  }

  /// Whether a backend is on the side from which clients come, and has a router of its own there.
  private func isTowardsOutside(_ address: IPAddress) -> Bool {
    let anywhere: IPAddress = address.family == .v4 ? .somewhereV4 : .somewhereV6
    return (try? lookup.route(to: anywhere))?.link == link(to: address)
  }

  /// Looks at the switch of the backend's interface: replies come in there and are forwarded.
  private func forwarding(_ backend: BackendPorts) -> [BackendFault] {
    guard case .success(let route)? = routes[backend.address], !route.isLocal,
      Forwarding.isOff(backend.address.family, on: route.link)
    else { return [] }
    return [backend.fault(.forwardingOff(link: route.link))]
  }
}

/// A step of a probe, for whoever wants to see all of them.
enum ProbeStep {
  case route(IPAddress, Route)
  case noRoute(IPAddress, errno: Int32)
  case asked(PortQuestion, PortAnswer)
}

extension BackendPorts {
  func question(_ port: UInt16) -> PortQuestion {
    PortQuestion(transport: transport, address: SocketAddress(address, port: port))
  }

  func fault(_ reason: BackendFault.Reason, isNote: Bool = false) -> BackendFault {
    BackendFault(address: address, ports: ports, transport: transport, reason: reason, isNote: isNote)
  }
}

extension Interfaces {
  /// The networks that this host shares with others.
  fileprivate func networks(_ family: IPAddress.Family) -> [Subnet] {
    entries.map(\.subnet).filter {
      $0.address.family == family && !$0.address.isLoopback && !$0.address.isLinkLocal
        && $0.prefixLength < family.bits
    }
  }
}

extension IPAddress {
  /// Addresses that are nobody's (RFC 5737, RFC 3849): the route to them is the one to everywhere.
  fileprivate static let somewhereV4 = IPAddress(v4: 0xCB00_71FE)
  fileprivate static let somewhereV6 = IPAddress(v6: 0x2001_0DB8_FFFF << 80 | 1)
}
