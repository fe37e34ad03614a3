import Glibc

/// A request for a run of ports: the same numbers on each address and for each transport.
struct PortRequest {
  enum Choice: Equatable {
    /// These ports and no others.
    case exactly(PortRange)
    /// The lowest ones of a range that somebody named.
    case lowest(of: PortRange)
    /// The next ones after those that were given out last, reserved ones (net.ipv4.ip_local_reserved_ports) left out.
    case next(in: PortRange)
  }

  let choice: Choice
  /// The number of consecutive ports.
  let width: Int
  let hosts: [HostAddress]
  let transports: [Transport]
  /// The ports that would lead to themselves, where the backend is one of `hosts`: passed over where ports are chosen.
  /// Who names ports is refused before.
  var ownBackend: PortRange?
}

/// The ports that answer one request, held by their sockets.
struct HeldPorts {
  let ports: PortRange
  /// One list for each address and transport, the addresses outermost; a socket a port in each.
  let sockets: [(host: HostAddress, transport: Transport, sockets: [Descriptor])]
  /// The ports that are taken over, each with its socket but in a preview; the processes that had them have to let go
  /// of them in the end.
  let taken: [(owner: Holding, port: UInt16, socket: Descriptor?)]
}

enum AllocationError: Error {
  /// portmap itself has given the port out.
  case given(port: String, owner: Holding)
  /// Another portmap has lent the port: another user's, or one with another state folder.
  case lent(port: String)
  /// Another process has the port.
  case inUse(port: String, transport: Transport, number: UInt16)
  case noneFree(of: PortRange, width: Int, transports: [Transport])
  case system(port: String, SystemError)
  /// A port that portmap had given out cannot be held again.
  case lost(port: String, Transport, UInt16, SystemError)
}

/// Finds and holds ports, trying the next where another process has one: the kernel's bind and listen decide, and
/// nothing else can.
struct PortAllocator {
  let ledger: PortLedger
  /// Ports that only those get who name them.
  let reservedPorts: [PortRange]
  /// Whether the ports of an owner may be taken over.
  var isForTaking: (Holding) -> Bool
  /// Fetches the socket of such a port from the process that holds it.
  let takeOver: (Holding, UInt16) throws -> Descriptor
  /// Whether a port is kept for somebody who has named it and is yet to come: it is not chosen for others.
  var isPromised: (Transport, HostAddress, UInt16) -> Bool = { _, _, _ in false }
  /// The last port that was chosen automatically, by transport.
  var cursors: [String: UInt16]
  /// Whether nothing is to be held: conflicts with what portmap has given out are found, ports are not chosen.
  let isPreview: Bool

  init(
    ledger: PortLedger,
    reservedPorts: [PortRange],
    isForTaking: @escaping (Holding) -> Bool,
    takeOver: @escaping (Holding, UInt16) throws -> Descriptor,
    cursors: [String: UInt16],
    isPreview: Bool = false
  ) {
    self.ledger = ledger
    self.reservedPorts = reservedPorts
    self.isForTaking = isForTaking
    self.takeOver = takeOver
    self.cursors = cursors
    self.isPreview = isPreview
  }

  /// Finds and holds what is asked for.
  ///
  /// - Throws: AllocationError; Interruption where a signal came.
  mutating func hold(_ request: PortRequest) throws -> HeldPorts {
    switch request.choice {
    case .lowest where isPreview, .next where isPreview:
      let sockets = request.hosts.flatMap { host in request.transports.map { (host, $0, [Descriptor]()) } }
      return HeldPorts(ports: .unknown, sockets: sockets, taken: [])
    case .exactly(let ports):
      return try take(ports, request)
    case .lowest(let range):
      let (ledger, isPromised) = (ledger, isPromised)
      return try search(request, range, starts: [(range.first, range.last)]) { transport, host, port in
        ledger.owner(transport, host, port) != nil || isPromised(transport, host, port)
      }
    case .next(let range):
      let (ledger, reservedPorts, isPromised) = (ledger, reservedPorts, isPromised)
      let cursor = request.transports.first.flatMap { cursors[$0.rawValue] } ?? 0
      let begin = range.contains(cursor) && cursor < range.last ? cursor + 1 : range.first
      var starts = [(begin, range.last)]
      if begin > range.first { starts.append((range.first, begin - 1)) }
      let held = try search(request, range, starts: starts) { transport, host, port in
        ledger.isGiven(transport, port) || reservedPorts.contains { $0.contains(port) }
          || isPromised(transport, host, port)
      }
      for transport in request.transports { cursors[transport.rawValue] = held.ports.last }
      return held
    }
  }

  /// Holds ports that somebody named, those of the same address that may change hands by taking them over.
  private mutating func take(_ ports: PortRange, _ request: PortRequest) throws -> HeldPorts {
    var held: [(HostAddress, Transport, [Descriptor])] = []
    var taken: [(Holding, UInt16, Descriptor?)] = []
    for host in request.hosts {
      for transport in request.transports {
        var sockets: [Descriptor] = []
        for port in ports.ports {
          switch ledger.owner(transport, host, port) {
          case let owner? where owner.hostIP == host && isForTaking(owner):
            let socket = isPreview ? nil : try takeOver(owner, port)
            taken.append((owner, port, socket))
            if let socket { sockets.append(socket) }
          case let owner?:
            throw AllocationError.given(port: name(host, port, transport), owner: owner)
          case nil where isPreview: break
          case nil:
            guard let socket = try reserve(transport, host, port) else {
              throw AllocationError.inUse(
                port: name(host, port, transport),
                transport: transport,
                number: port
              )
            }
            guard !isLent(transport, host, port) else {
              throw AllocationError.lent(port: name(host, port, transport))
            }
            sockets.append(socket)
          }
        }
        held.append((host, transport, sockets))
      }
    }
    return HeldPorts(ports: ports, sockets: held, taken: taken)
  }

  /// Tries every run of the wanted width that begins in `starts`, in order, and ends in `range`.
  private mutating func search(
    _ request: PortRequest,
    _ range: PortRange,
    starts: [(UInt16, UInt16)],
    isExcluded: (Transport, HostAddress, UInt16) -> Bool
  ) throws -> HeldPorts {
    for (low, high) in starts {
      var first = low
      while first <= high, let ports = PortRange(first: first, count: request.width), range.contains(ports) {
        try Interruption.check()
        if ports == request.ownBackend {
          guard first < UInt16.max else { break }
          first += 1
          continue
        }
        switch try attempt(ports, request, isExcluded) {
        case .success(let held): return held
        case .failure(let stranger):
          // Every run up to the port that is taken contains it.
          guard stranger.port < UInt16.max else { break }
          first = stranger.port + 1
          continue
        }
        break
      }
    }
    throw AllocationError.noneFree(of: range, width: request.width, transports: request.transports)
  }

  private struct Taken: Error { let port: UInt16 }

  /// The ports that other portmaps have lent, as they were when the first port was bound.
  private var lent: [LentPort]?

  /// Whether another portmap has lent a port that is bound by now.
  private mutating func isLent(_ transport: Transport, _ host: HostAddress, _ port: UInt16) -> Bool {
    guard transport == .tcp else { return false }
    let ports = lent ?? LentPort.all()
    lent = ports
    return ports.contains { $0.overlaps(host, port) }
  }

  /// Makes sure that no portmap has lent any of these ports since the first was bound.
  ///
  /// - Throws: AllocationError.lent: nobody may hold such a port.
  static func checkLent(_ held: [HeldPorts]) throws(AllocationError) {
    let lent = LentPort.all()
    guard !lent.isEmpty else { return }
    for held in held {
      let takenOver = Set(held.taken.map(\.port))
      for (host, transport, _) in held.sockets where transport == .tcp {
        let clash = lent.first {
          held.ports.contains($0.port) && !takenOver.contains($0.port) && $0.host.overlaps(host)
        }
        if let clash { throw .lent(port: "\(host.prefix)\(clash.port)") }
      }
    }
  }

  private mutating func attempt(
    _ ports: PortRange,
    _ request: PortRequest,
    _ isExcluded: (Transport, HostAddress, UInt16) -> Bool
  ) throws -> Result<HeldPorts, Taken> {
    for port in ports.ports.reversed() {
      for transport in request.transports
      where request.hosts.contains(where: { isExcluded(transport, $0, port) }) {
        return .failure(Taken(port: port))
      }
    }
    var held: [(HostAddress, Transport, [Descriptor])] = []
    for host in request.hosts {
      for transport in request.transports {
        var sockets: [Descriptor] = []
        for port in ports.ports {
          guard let socket = try reserve(transport, host, port), !isLent(transport, host, port) else {
            return .failure(Taken(port: port))
          }
          sockets.append(socket)
        }
        held.append((host, transport, sockets))
      }
    }
    return .success(HeldPorts(ports: ports, sockets: held, taken: []))
  }

  /// Reserves one port; nil where another process has it.
  private func reserve(_ transport: Transport, _ host: HostAddress, _ port: UInt16) throws -> Descriptor? {
    do {
      return try PortSocket.reserve(transport, host, port)
    } catch  where error.errno == EADDRINUSE {
      return nil
    } catch {
      throw AllocationError.system(port: name(host, port, transport), error)
    }
  }

  private func name(_ host: HostAddress, _ port: UInt16, _ transport: Transport) -> String {
    "\(host.prefix)\(port)\(transport.suffix)"
  }
}
