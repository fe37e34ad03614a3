/// nftables' own tables, whose verdict to drop no ACCEPT of iptables overrides: which of their base chains would drop
/// what portmap depends on.
struct NativeTables {
  let runner: ProgramRunner
  /// The interface that leads to an address next door.
  let link: (IPAddress) -> String?

  /// As far as `nft` is there to ask. Tables are read one by one: those of iptables hold all the mappings' rules, and
  /// are not worth reading.
  ///
  /// - Parameter bridges: portmap's own, whose guests reach out.
  func problems(_ mappings: [Mapping], bridges: [(name: String, subnet: Subnet)]) -> [Problem] {
    guard runner.has("nft") else { return [] }
    let traffic = NativeTraffic.all(mappings, bridges: bridges, link: link)
    guard !traffic.isEmpty, let chains = read(["chains"]) else { return [] }
    let tables = Set(chains.baseChains.map(\.tableName)).sorted {
      ($0.name, $0.family) < ($1.name, $1.family)
    }
    return tables.flatMap { table in
      read(["table", table.family, table.name]).map { Self.problems(in: $0, traffic) } ?? []
    }
  }

  private func read(_ what: [String]) -> NativeRuleset? {
    (try? runner.run("nft", ["--json", "list"] + what)).flatMap { NativeRuleset($0.stdout) }
  }

  /// One problem a chain and kind of traffic.
  static func problems(in ruleset: NativeRuleset, _ traffic: [NativeTraffic]) -> [Problem] {
    ruleset.baseChains.flatMap { chain -> [Problem] in
      let dropped = traffic.filter { traffic in
        var walk = NativeWalk(traffic, ruleset, chain.tableName)
        return traffic.passes(chain) && walk.isDropped(in: chain)
      }
      return NativeTraffic.Kind.allCases.compactMap { kind in
        var subjects: [String] = []
        // A mapping's two families follow each other.
        for packets in dropped where packets.kind == kind && packets.subject != subjects.last {
          subjects.append(packets.subject)
        }
        guard !subjects.isEmpty else { return nil }
        let rest = subjects.count > 3 ? " and \(subjects.count - 3) more" : ""
        return Problem(
          subject: "nftables \(chain.family) \(chain.table) \(chain.name)",
          problem: "it drops \(kind.rawValue) \(subjects.prefix(3).joined(separator: ", "))\(rest)"
        )
      }
    }
  }
}

/// What is known of the packets of a mapping, or of a bridge's guests, when a connection begins.
struct NativeTraffic {
  enum Kind: String, CaseIterable {
    case arriving = "what comes in for"
    case forwarded = "what is forwarded for"
    case proxied = "what comes in to the proxy of"
    case own = "what the host itself sends to the proxy of"
    case outgoing = "what goes out from the guests of"
  }

  let kind: Kind
  /// The mapping or the bridge.
  let subject: String
  let family: IPAddress.Family
  /// Nil where it may be any, as with the next ones.
  var transport: Transport?
  /// The destination's.
  var ports: PortRange?
  var destination: IPAddress?
  var source: Subnet?
  /// Where it comes in; somewhere outside when nil.
  var interface: String?
  /// Where it leaves.
  var outgoing: String?

  /// Whether the destination is the one that a DNAT rule has put there.
  var isTranslated: Bool { kind == .forwarded }

  static func all(
    _ mappings: [Mapping],
    bridges: [(name: String, subnet: Subnet)],
    link: (IPAddress) -> String?
  ) -> [NativeTraffic] {
    mappings.filter(\.delivery.rules).flatMap { of($0, link) }
      + bridges.map { bridge in
        NativeTraffic(
          kind: .outgoing,
          subject: bridge.name,
          family: bridge.subnet.address.family,
          source: bridge.subnet,
          interface: bridge.name
        )
      }
  }

  private static func of(_ mapping: Mapping, _ link: (IPAddress) -> String?) -> [NativeTraffic] {
    func traffic(_ kind: Kind, _ family: IPAddress.Family) -> NativeTraffic {
      let isForwarded = kind == .forwarded
      return NativeTraffic(
        kind: kind,
        subject: "\(mapping)",
        family: family,
        transport: mapping.transport,
        ports: isForwarded ? mapping.backendPorts : mapping.hostPorts,
        destination: isForwarded
          ? mapping.backendIP : mapping.hostIP.address.flatMap { $0.isUnspecified ? nil : $0 },
        outgoing: isForwarded ? link(mapping.backendIP) : nil
      )
    }
    func own(_ family: IPAddress.Family) -> NativeTraffic? {
      guard mapping.delivery.proxy, mapping.hostIP.address?.isUnspecified ?? true else { return nil }
      let loopback: IPAddress = family == .v4 ? .loopbackV4 : .loopbackV6
      var own = traffic(.own, family)
      own.destination = loopback
      own.source = Subnet(loopback, prefixLength: family.bits)
      own.interface = "lo"
      return own
    }
    let forwarded = mapping.delivery.nat ? [mapping.backendIP.family] : []
    let proxied = mapping.delivery.proxy ? mapping.hostIP.families.filter { !forwarded.contains($0) } : []
    return (forwarded + proxied).map { traffic(.arriving, $0) } + forwarded.map { traffic(.forwarded, $0) }
      + proxied.map { traffic(.proxied, $0) } + mapping.hostIP.families.compactMap(own)
  }

  /// Whether these packets come through a base chain, as they are described here.
  func passes(_ chain: NativeRuleset.Chain) -> Bool {
    guard chain.family == "inet" || chain.family == (family == .v4 ? "ip" : "ip6") else { return false }
    switch chain.hook {
    case "input": return kind == .proxied || kind == .own
    case "forward": return kind == .forwarded || kind == .outgoing
    // iptables' DNAT is done at -100.
    case "prerouting":
      let isBefore = kind == .arriving || kind == .outgoing || kind == .own
      return chain.priority < -100 ? isBefore : kind != .arriving
    default: return false
    }
  }
}
