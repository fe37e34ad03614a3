// What somebody may have meant by a target that is nowhere.

extension Failure {
  /// Targets that are nowhere, with a hint where one is nearly there.
  static func nowhere(_ targets: [Target], in state: State?) -> Failure {
    nowhere(targets.map(\.absence), meaning: targets, in: state)
  }

  /// The same in words of the caller's.
  static func nowhere(_ absences: [String], meaning targets: [Target], in state: State?) -> Failure {
    let near = state.flatMap { state in targets.lazy.compactMap { state.nearest(to: $0) }.first }
    return Failure(
      .nothingMatched,
      absences.joined(separator: "; "),
      hint: near.map { "did you mean \($0)?" }
    )
  }
}

extension State {
  /// The target that comes nearest to one that is nowhere; nil where none is near.
  func nearest(to target: Target) -> String? {
    guard selection([target]).isEmpty else { return nil }
    switch target {
    case .ports(let spec): return spec.ports.flatMap { nearest(spec, $0) }
    case .spec(let spec, _): return nearest(spec)
    case .line(let line):
      let frontend = line.firstRange(of: "->").map { String(line[..<$0.lowerBound]) } ?? line
      let lines = mappings.map { "\($0.mapping)" }
      return lines.first { $0.hasPrefix(frontend + "->") } ?? Spelling.nearest(line, among: lines, within: 2)
    case .address(let address):
      let known = Set(mappings.map(\.backendIP) + addresses.map(\.ip)).sorted().map(\.description)
      let here = mappings.first { $0.hostIP == .one(address) }?.mapping.pair.target
      return here ?? Spelling.nearest("\(address)", among: known, within: 1)
    case .name(let name):
      let names = addresses.compactMap(\.name)
      return names.first { $0.lowercased() == name.lowercased() } ?? Spelling.nearest(name, among: names)
    case .id(let id):
      return Spelling.nearest(id, among: mappings.map(\.id) + reservations.map(\.id), within: 2)
    }
  }

  /// Everything that has a host port.
  private var holdings: [Holding] {
    mappings.map { .mapping($0.mapping) } + reservations.map { .reservation($0.reservation) }
  }

  /// A port of another transport or of a range, one that leads to what was named, or a port that is mistyped.
  private func nearest(_ spec: ReservationSpec, _ ports: PortRange) -> String? {
    let transports = spec.transports.transports
    let here = holdings.filter { $0.hostIP.overlaps(spec.hostAddress) }
    let leading = mappings.first { record in
      record.backendPorts == ports && transports.contains(record.transport)
        && (spec.hostAddress == .every || spec.hostAddress == .one(record.backendIP))
    }
    let near =
      here.first { $0.ports == ports }
      ?? here.first { $0.ports.contains(ports) && transports.contains($0.transport) }
      ?? holdings.first { $0.ports == ports && transports.contains($0.transport) }
    if let name = near?.description ?? leading?.mapping.pair.target { return name }
    return Spelling.nearest("\(ports)", among: here.map { "\($0.ports)" }, within: 1).flatMap { text in
      here.first { "\($0.ports)" == text }?.description
    }
  }

  /// A mapping of the same host ports, or one whose ports were named the other way round.
  private func nearest(_ spec: PortSpec) -> String? {
    guard case .fixed(let ports) = spec.frontend else { return nil }
    let found =
      mappings.first { $0.hostPorts == ports }
      ?? mappings.first {
        $0.hostPorts == spec.backend && $0.backendPorts == ports
      }
    return found?.mapping.pair.target
  }
}
