/// A base chain of a native nftables table that would drop what portmap depends on.
struct NativeDrop: Equatable, Sendable {
  /// The chain's table, with the family: `inet filter`.
  let table: String
  let chain: String
  let kind: NativeTraffic.Kind
  /// The mappings or bridges whose packets it would drop, all of one kind.
  let traffic: [NativeTraffic.Subject]

  var subject: String { "nftables \(table) \(chain)" }

  var problem: String {
    let rest = traffic.count > 3 ? " and \(traffic.count - 3) more" : ""
    return "it drops \(kind.rawValue) \(traffic.prefix(3).map { "\($0)" }.joined(separator: ", "))\(rest)"
  }
}

/// A search through nftables' own tables, whose verdict to drop no ACCEPT of iptables overrides.
struct NativeTables {
  let runner: ProgramRunner
  /// The interface that leads to an address next door.
  let link: (IPAddress) -> String?

  /// Finds the chains that drop what portmap depends on, as far as `nft` is there to ask. Tables are read one by one:
  /// those of iptables hold all the mappings' rules, and are not worth reading.
  ///
  /// - Parameter bridges: portmap's own, whose guests reach out.
  func drops(_ mappings: [Mapping], bridges: [(name: String, subnet: Subnet)]) -> [NativeDrop] {
    guard runner.has("nft") else { return [] }
    let traffic = NativeTraffic.all(mappings, bridges: bridges, link: link)
    guard !traffic.isEmpty, let chains = read(["chains"]) else { return [] }
    let tables = Set(chains.baseChains.map(\.tableName)).sorted {
      ($0.name, $0.family) < ($1.name, $1.family)
    }
    return tables.flatMap { table in
      read(["table", table.family, table.name]).map { Self.drops(in: $0, traffic) } ?? []
    }
  }

  private func read(_ what: [String]) -> NativeRuleset? {
    (try? runner.run("nft", ["--json", "list"] + what)).flatMap { NativeRuleset($0.stdout) }
  }

  /// Finds one drop a chain and kind of traffic.
  static func drops(in ruleset: NativeRuleset, _ traffic: [NativeTraffic]) -> [NativeDrop] {
    ruleset.baseChains.flatMap { chain -> [NativeDrop] in
      let dropped = traffic.filter { traffic in
        var walk = NativeWalk(traffic, ruleset, chain.tableName)
        return traffic.passes(chain) && walk.isDropped(in: chain)
      }
      return NativeTraffic.Kind.allCases.compactMap { kind in
        var subjects: [NativeTraffic.Subject] = []
        // A mapping's two families follow each other.
        for packets in dropped where packets.kind == kind && packets.subject != subjects.last {
          subjects.append(packets.subject)
        }
        guard !subjects.isEmpty else { return nil }
        return NativeDrop(
          table: "\(chain.family) \(chain.table)",
          chain: chain.name,
          kind: kind,
          traffic: subjects
        )
      }
    }
  }
}

/// The packets of a mapping, or of a bridge's guests, that begin a connection, as far as they are known.
struct NativeTraffic {
  enum Kind: String, CaseIterable, Sendable {
    case arriving = "what comes in for"
    case forwarded = "what is forwarded for"
    case proxied = "what comes in to the proxy of"
    case own = "what the host itself sends to the proxy of"
    case outgoing = "what goes out from the guests of"
  }

  /// The owner of the packets.
  enum Subject: Equatable, Sendable, CustomStringConvertible {
    case mapping(Mapping)
    case bridge(String)

    var description: String {
      switch self {
      case .mapping(let mapping): "\(mapping)"
      case .bridge(let name): name
      }
    }
  }

  let kind: Kind
  let subject: Subject
  let family: IPAddress.Family
  /// The protocol; like all that follows it is nil where it may be any.
  var transport: Transport?
  /// The destination's ports.
  var ports: PortRange?
  var destination: IPAddress?
  var source: Subnet?
  /// The interface that the packets come in by; one to the outside when nil.
  var interface: String?
  /// The interface that the packets leave by.
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
          subject: .bridge(bridge.name),
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
        subject: .mapping(mapping),
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

  /// Tells whether these packets come through a base chain, as they are described here.
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
