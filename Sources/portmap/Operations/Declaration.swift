/// A line of a file that is applied: what is to be there.
struct Declaration {
  enum Demand {
    case map(MapRequest)
    case ports(AllocRequest)
    case address(AddressRequest)
  }

  let origin: Origin
  let demand: Demand
  /// What it asks for, in words: `map 8080:80`.
  let task: String

  /// The name of the backend, where it is no address, or of the namespace that it is in.
  fileprivate var usedName: String? {
    guard case .map(let request) = demand else { return nil }
    if let into = request.into { return into.text }
    guard let to = request.to, IPAddress(to) == nil else { return nil }
    return to
  }

  /// What its address is called.
  var title: String? {
    if case .address(let request) = demand { request.title } else { nil }
  }

  /// The host ports that it names.
  var namedPorts: [NamedPorts] {
    switch demand {
    case .address: []
    case .map(let request):
      request.specs.flatMap { spec -> [NamedPorts] in
        guard case .fixed(let ports) = spec.frontend else { return [] }
        return NamedPorts.each(request.hosts(of: spec), spec.transports, ports)
      }
    case .ports(let request):
      request.specs.flatMap { spec -> [NamedPorts] in
        guard let ports = spec.ports, ports.isSingle else { return [] }
        return NamedPorts.each(request.hosts(of: spec), spec.transports, ports)
      }
    }
  }
}

/// Host ports that somebody names.
struct NamedPorts: Equatable {
  let transport: Transport
  let hostIP: HostAddress
  let ports: PortRange

  fileprivate static func each(_ hosts: [HostAddress], _ transports: TransportChoice, _ ports: PortRange)
    -> [NamedPorts]
  {
    hosts.flatMap { host in
      transports.transports.map { NamedPorts(transport: $0, hostIP: host, ports: ports) }
    }
  }
}

/// Why declarations cannot stand together.
struct DeclarationMistake: Error {
  enum Problem {
    case samePort(NamedPorts, as: Origin)
    case sameName(String, as: Origin)
    case namedBelow(String, at: Origin)
  }

  let origin: Origin
  let problem: Problem
}

extension [Declaration] {
  /// What is wrong with the declarations as a whole, at most one mistake a line.
  var mistakes: [DeclarationMistake] {
    var promised = PromisedPorts()
    var names: [String: Origin] = [:]
    var all: [String: Origin] = [:]
    for declaration in self {
      if let title = declaration.title { all[title] = all[title] ?? declaration.origin }
    }
    return compactMap { declaration in
      var problem: DeclarationMistake.Problem?
      if let title = declaration.title {
        if let other = names[title] {
          problem = .sameName(title, as: other)
        } else {
          names[title] = declaration.origin
        }
      }
      if let name = declaration.usedName, names[name] == nil, let below = all[name] {
        problem = .namedBelow(name, at: below)
      }
      for ports in declaration.namedPorts {
        if let other = promised.owner(of: ports) { problem = .samePort(ports, as: other) }
        promised.add(ports, declaration.origin)
      }
      return problem.map { DeclarationMistake(origin: declaration.origin, problem: $0) }
    }
  }
}

/// The host ports that declarations name, by port: there may be thousands.
struct PromisedPorts {
  private struct Key: Hashable {
    let transport: Transport
    let port: UInt16
  }

  private var owners: [Key: [(HostAddress, Origin)]] = [:]

  init() {}

  init(_ declarations: [Declaration]) {
    for declaration in declarations {
      for ports in declaration.namedPorts { add(ports, declaration.origin) }
    }
  }

  mutating func add(_ named: NamedPorts, _ origin: Origin) {
    for port in named.ports.ports {
      owners[Key(transport: named.transport, port: port), default: []].append((named.hostIP, origin))
    }
  }

  /// Who names a port of those already; nil where nobody does.
  func owner(of named: NamedPorts) -> Origin? {
    for port in named.ports.ports {
      let others = owners[Key(transport: named.transport, port: port)] ?? []
      if let (_, origin) = others.first(where: { $0.0.overlaps(named.hostIP) }) { return origin }
    }
    return nil
  }

  func contains(_ transport: Transport, _ host: HostAddress, _ port: UInt16) -> Bool {
    owners[Key(transport: transport, port: port)]?.contains { $0.0.overlaps(host) } ?? false
  }
}
