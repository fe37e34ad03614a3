import Glibc

/// The ports of one backend that are asked on behalf of a mapping.
struct BackendPorts: Hashable {
  let address: IPAddress
  let transport: Transport
  let ports: PortRange

  /// No more than this many of a range: a port costs a socket and a packet, and the network is not this host's alone.
  static let mostAsked = 256

  init(_ mapping: Mapping) {
    address = mapping.backendIP
    transport = mapping.transport
    ports = mapping.backendPorts
  }

  /// The ports that are asked: all, or as many as may be, spread evenly, the first and the last among them.
  var asked: [UInt16] {
    guard ports.count > Self.mostAsked else { return Array(ports.ports) }
    return (0..<Self.mostAsked).map { ports.first + UInt16($0 * (ports.count - 1) / (Self.mostAsked - 1)) }
  }

  /// Joins what was found out, one reason a port, to one fault a run of ports that follow each other.
  func faults(_ reasons: [BackendFault.Reason?]) -> [BackendFault] {
    var runs: [(first: UInt16, last: UInt16, reason: BackendFault.Reason?)] = []
    for (port, reason) in zip(asked, reasons) {
      if let last = runs.last, last.reason == reason {
        runs[runs.count - 1].last = port
      } else {
        runs.append((port, port, reason))
      }
    }
    return runs.compactMap { run in
      run.reason.map {
        BackendFault(
          address: address,
          ports: PortRange(first: run.first, last: run.last),
          transport: transport,
          reason: $0,
          // Not every kernel has sctp: that says nothing about the backend.
          isNote: $0 == .notAsked(errno: EPROTONOSUPPORT)
        )
      }
    }
  }
}
