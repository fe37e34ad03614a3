/// Connections that the kernel tracks since before a mapping came or went: they would go on as they did, past the
/// rules that are there now.
///
/// All are listed once, those to the mapping's ports at the host's own addresses are picked out, and just these are
/// deleted, in few calls: a deletion by port alone would cut strangers' flows that only pass through.
struct Flows {
  let runner: ProgramRunner
  let lock: Descriptor?
  let isLocal: (IPAddress) -> Bool

  /// Forgets the flows that match any filter; false where `conntrack` is missing.
  func forget(_ filters: [FlowFilter]) throws -> Bool {
    guard !filters.isEmpty else { return true }
    // Said even where nothing matches now: the mapping's own flows will have to be forgotten one day.
    guard runner.has("conntrack") else { return false }
    let commands = Self.deletions(in: Self.flows(in: try listing())) { flow in
      isLocal(flow.destination) && filters.contains { $0.matches(flow) }
    }
    for start in stride(from: 0, to: commands.count, by: Self.deletionsPerCall) {
      let part = commands[start..<min(start + Self.deletionsPerCall, commands.count)]
      // Its status says that a flow was gone already, too: that is no failure.
      _ = try runner.run(unchecked: "conntrack", ["--load-file"], text: part.joined(), input: lock)
    }
    return true
  }

  /// Each deletion makes conntrack go through the whole table, 10 ms and more: this many end well within the time that
  /// a program has.
  private static let deletionsPerCall = 250

  /// What tells conntrack to delete the flows that are `doomed`, and no other of these.
  ///
  /// It goes by port. Where many ports of a range lead to one backend, it goes by the backend: if all flows to there
  /// are doomed.
  static func deletions(in flows: [Flow], doomed: (Flow) -> Bool) -> [String] {
    var commands: [String] = []
    for (route, flows) in Dictionary(grouping: flows, by: \.route) {
      let gone = flows.filter(doomed)
      let byPort = Set(gone.map { "\(route.deletion) --dport \($0.destinationPort)\n" })
      let goesByBackend = byPort.count > manyPorts && gone.count == flows.count
      commands += goesByBackend ? ["\(route.deletion) -r \(route.backend)\n"] : Array(byPort)
    }
    return commands.sorted()
  }

  /// From how many on it pays to look at ports as one: so many take a tenth of a second.
  private static let manyPorts = 10

  /// All flows of the namespace. The kernel's own file is read in a hundredth of the time that `conntrack -L` takes,
  /// which has a lock for each bucket of its table; not every kernel has the file.
  private func listing() throws -> String {
    if Self.isFileWhole(Files.word(of: "/proc/sys/kernel/osrelease") ?? ""),
      let bytes = Files.contents(of: "/proc/net/nf_conntrack")
    {
      return String(decoding: bytes, as: UTF8.self)
    }
    let count = Files.word(of: "/proc/sys/net/netfilter/nf_conntrack_count").flatMap { Int($0) } ?? 0
    guard count > 0 else { return "" }
    return try runner.run("conntrack", ["-L"], input: lock).text
  }

  /// Whether a kernel of this release shows all flows in its file. Up to Linux 6.15 each read(2) finds its place by
  /// counting entries from the start of the table, and leaves out as many as have expired in the meantime.
  static func isFileWhole(_ release: String) -> Bool {
    let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).map { Int($0) ?? 0 }
    return !numbers.lexicographicallyPrecedes([6, 16])
  }

  struct Flow: Equatable {
    let transport: Transport
    let source: IPAddress
    let destination: IPAddress
    let sourcePort: UInt16
    let destinationPort: UInt16
    /// Where its replies come from: by DNAT another address than the destination.
    let backend: IPAddress

    fileprivate var route: Route { Route(transport: transport, destination: destination, backend: backend) }
  }

  /// What the flows of one mapping's ports have in common.
  fileprivate struct Route: Hashable {
    let transport: Transport
    let destination: IPAddress
    let backend: IPAddress

    var deletion: String {
      let family = destination.family == .v4 ? "ipv4" : "ipv6"
      return "-D -f \(family) -p \(transport.rawValue) -d \(destination)"
    }
  }

  /// Reads lines of `conntrack -L`, or of /proc/net/nf_conntrack, which have the family in front; the first tuple of
  /// each is the one that the client sent, the second one that of the replies.
  static func flows(in text: String) -> [Flow] {
    text.split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      let name = words.first?.hasPrefix("ipv") ?? false ? words.dropFirst(2).first : words.first
      guard let transport = name.flatMap({ Transport(rawValue: String($0)) }) else { return nil }
      func value(_ key: String) -> Substring? { words.first { $0.hasPrefix(key) }?.dropFirst(key.count) }
      guard let source = value("src=").flatMap({ IPAddress($0) }),
        let destination = value("dst=").flatMap({ IPAddress($0) }),
        let sourcePort = value("sport=").flatMap({ PortRange.port($0) }),
        let destinationPort = value("dport=").flatMap({ PortRange.port($0) }),
        let backend = words.last(where: { $0.hasPrefix("src=") }).flatMap({ IPAddress($0.dropFirst(4)) })
      else { return nil }
      return Flow(
        transport: transport,
        source: source,
        destination: destination,
        sourcePort: sourcePort,
        destinationPort: destinationPort,
        backend: backend
      )
    }
  }
}

extension FlowFilter {
  fileprivate func matches(_ flow: Flows.Flow) -> Bool {
    flow.transport == transport && (first...last).contains(flow.destinationPort)
      && hostIP.overlaps(.one(flow.destination))
  }
}
