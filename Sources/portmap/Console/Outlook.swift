/// What clients of a mapped port find, by where they are.
struct Outlook {
  let mapping: Mapping
  /// What is in their way, by viewpoint; nothing where the port is not meant for them.
  private let obstacles: [(Viewpoint, [Difference])]

  /// Whether one thing is in everybody's way, which its own line has said.
  var isTold: Bool {
    guard let first = obstacles.first?.1.first else { return false }
    return obstacles.allSatisfy { $0.1.first == first }
  }

  init(_ mapping: Mapping, _ differences: [Difference], _ state: State) {
    self.mapping = mapping
    obstacles = Viewpoint.allCases.map { view in
      (view, differences.filter { $0.obstructs(mapping, from: view, in: state) })
    }
  }
}

extension Outlook: CustomStringConvertible {
  /// `8080->172.16.42.2:80: outside ok; here ok; in a guest ok`, or the reasons.
  var description: String {
    let parts = obstacles.map { view, differences in
      if view != .here, mapping.hostIP.isLoopback { return "\(view.words): not meant for it" }
      return "\(view.words)" + (differences.first.map { ": \($0.obstacle)" } ?? " ok")
    }
    return "\(mapping): " + parts.joined(separator: "; ")
  }
}

extension Viewpoint {
  fileprivate var words: String {
    switch self {
    case .outside: "outside"
    case .here: "here"
    case .guest: "in a guest"
    }
  }
}

extension Difference {
  /// What is in the way of a mapping's clients, where its own line names the mapping and no other subject.
  fileprivate var obstacle: String {
    switch self {
    case .backend, .foreignRule, .processDead, .processSilent, .portTaken, .notHeld, .socketAltered,
      .namespaceReplaced, .namespaceGone, .removalUnfinished:
      problem
    case .nativeChain(let drop): "\(drop.subject) drops it"
    default: description
    }
  }

  /// Whether it is in the way of a mapping's clients who are at a viewpoint.
  func obstructs(_ mapping: Mapping, from view: Viewpoint, in state: State) -> Bool {
    let selection = Selection(
      mappings: [mapping.id],
      addresses: Set(state.addresses.map(\.ip).filter { $0 == mapping.backendIP })
    )
    guard !isNote, concerns(selection, in: state) else { return false }
    switch self {
    // What rules lead on needs no process; this host's own loopback does.
    case .processDead, .processSilent, .notHeld: return view == .here || !mapping.delivery.nat
    case .forwardingOff: return view != .here
    // What it would lead to the backend is the proxy's in the meantime.
    case .connectProgramLost, .connectionsLost, .connectionsUnknown: return false
    case .foreignRule(let rule):
      return ["OUTPUT": view == .here, "PREROUTING": view != .here, "FORWARD": view != .here][rule.chain]
        ?? true
    case .nativeChain(let drop): return drop.traffic.contains(.mapping(mapping)) && drop.kind.reaches(view)
    case .rules(let difference): return difference.concerns(mapping, in: state)
    case .backend(let fault): return fault.concerns.contains(view)
    default: return true
    }
  }
}

extension NativeTraffic.Kind {
  fileprivate func reaches(_ view: Viewpoint) -> Bool {
    switch self {
    case .arriving, .forwarded: view != .here
    case .proxied: view == .outside
    case .own: view == .here
    case .outgoing: false
    }
  }
}

extension RuleDifference {
  /// Whether it is about a mapping's rule, or one that no other mapping has for itself.
  fileprivate func concerns(_ mapping: Mapping, in state: State) -> Bool {
    guard mapping.delivery.rules, mapping.hostIP.families.contains(place.family) else { return false }
    switch kind {
    case .ruleMissing(let rule), .ruleDuplicated(let rule):
      return !state.mappings.contains { $0.id != mapping.id && rule.contains(":\($0.id)\"") }
    case .ruleSurplus, .chainSurplus: return false
    default: return true
    }
  }
}
