import CLinux
import Foundation

/// What is done with an input for each of the readers.
enum Readers {
  /// PortSpec, ReservationSpec, Target, and the words that they are made of.
  static func grammar(_ text: String) {
    if let spec = try? PortSpec(text) {
      expect(text.utf8.allSatisfy { $0 < 0x80 && $0 > 0x20 }, "a spec of other characters")
      expect(spec.width >= 1 && spec.backend.first > 0, "a spec without ports")
      let wide = spec.backend.count
      if case .fixed(let ports) = spec.frontend { expect(ports.count == wide, "ports that do not pair up") }
    }
    if let spec = try? ReservationSpec(text) {
      let ports = spec.ports.map { "\($0)" } ?? "0"
      for transport in spec.transports.transports {
        let again = try? ReservationSpec("\(spec.hostAddress.prefix)\(ports)\(transport.suffix)")
        expect(again?.ports == spec.ports && again?.hostAddress == spec.hostAddress, "it reads otherwise")
      }
    }
    if let target = try? Target(text) {
      _ = target.absence
      _ = State(netnsCookie: 1, bootID: "").selection([target])
      if let near = Sample.state.nearest(to: target) {
        let other = try? Target(near)
        expect(other.map { !Sample.state.selection([$0]).isEmpty } ?? false, "a hint that is nowhere")
      }
      if case .name(let name) = target { expect(!Identifier.isID(name), "a name like an id") }
    }
    let words = text.split(separator: " ").map(String.init)
    if let options = CommandTable.command("map")?.allOptions,
      let arguments = try? ParsedArguments(words, options: options, startsCommand: true)
    {
      _ = MapCorrection(arguments).command
    }
    if let subnet = Subnet(text) {
      expect(subnet.contains(subnet.network) && subnet.contains(subnet.last), "a network without its ends")
      expect(Subnet(subnet.description) == subnet, "another network when read again")
    }
    if let address = IPAddress(text) { expect(IPAddress(address.description) == address, "another address") }
  }

  /// A file that is applied: its lines, its mistakes, and what would come of it on a host where much is there already.
  static func conf(_ bytes: [UInt8]) {
    guard let none = try? ParsedArguments([], options: [], startsCommand: false),
      let context = try? Context(none, environment: [:])
    else { return expect(false, "no context") }
    let file = DeclarationFile(name: "/etc/portmap.conf", bytes: bytes)
    let read = file.declarations(CommandTable.declarations, context)
    let mistakes = read.declarations.mistakes
    expect(read.declarations.count <= bytes.count, "more declarations than bytes")
    let host = { (_: String) -> Result<IPAddress, any Error> in .success(.anyV4) }
    let origins: Set = ["/etc/portmap.conf"]
    let comparison = Reconciliation(of: read.declarations, from: origins, in: Sample.state, resolve: host)
    guard read.mistakes.isEmpty, mistakes.isEmpty else { return }
    expect(
      comparison.unchanged.isEmpty && comparison.released.isEmpty,
      "what others made is taken for its own"
    )
    for declaration in read.declarations {
      expect(Origin(text: declaration.origin.text) == declaration.origin, "another origin when read again")
    }
  }

  /// The state file, and all that commands work out from it before they look at anything else.
  static func state(_ bytes: [UInt8]) {
    var coder = StateCoder()
    guard let state = try? coder.decode(Data(bytes), path: "/state.json") else { return }
    guard let written = try? coder.encode(state), let again = try? coder.decode(written, path: "/again")
    else {
      return expect(false, "a state that cannot be written and read again")
    }
    expect(again == state, "another state when read again")
    let plan = Plan.releasing(state.everything, everything: true, from: state)
    expect(plan.next.mappings.isEmpty && plan.next.reservations.isEmpty, "something stays")
    _ = Preview(plan).lines
    _ = plan.removal.sparing(state)
    let wanted = ExpectedRules(state)
    for family in plan.removal.change.families {
      _ = plan.removal.change.removeText(family)
      let comparison = RuleComparison(
        family,
        chains: wanted.chains,
        entries: wanted.entries,
        saved: SavedRules(""),
        Sample.layout
      )
      _ = comparison.differences
      _ = comparison.repairText
    }
    for record in state.mappings {
      _ = (record.mapping.description, record.mapping.pair.target, record.flows, record.sharedPurposes)
      _ = ChainLayout(tag: "").rules(for: record.mapping)
    }
    for holder in state.holders { _ = state.holdings(of: holder.id).map(\.description) }
    _ = ListDocument(state, only: state.everything)
  }

  /// The control protocol of the background process.
  static func holder(_ bytes: [UInt8]) {
    guard let message = HolderMessage(bytes) else { return }
    let again = HolderMessage(message.bytes)
    // Ids are bytes on the wire; what is no UTF-8 is not the same when written again.
    guard bytes.allSatisfy({ $0 < 0x80 }) else { return }
    expect(again == message, "another message when read again")
  }

  /// `ip -json`.
  static func route(_ bytes: [UInt8]) {
    struct Route: Decodable { let dst: String? }
    let data = Data(bytes)
    if let links = try? JSONDecoder().decode([IPRoute.Link].self, from: data) {
      for link in links {
        _ = (link.isBridge, link.subnets.map(\.networkDescription), link.ifalias.flatMap { LinkAlias($0) })
      }
    }
    if let routes = try? JSONDecoder().decode([Route].self, from: data) {
      for subnet in IPRoute.routes(in: routes.map(\.dst)) {
        expect(subnet.prefixLength > 0 && subnet.address.family == .v4, "a default route among the networks")
      }
    }
    let text = String(decoding: bytes, as: UTF8.self)
    _ = IPRoute.routes(in: text.split(separator: "\n").map(String.init))
    _ = LinkAlias(text)
    _ = (ListeningSockets.parse(bytes, .tcp), ReversePath.dropped(in: bytes), Guest.gateways(in: bytes))
    _ = (Guest.has(.loopbackV4, in: bytes), Guest.knows(.loopbackV4, [1, 2], in: bytes))
    _ = (PortOwner.unit(ofControlGroup: bytes), DockerSocket.container(at: .loopbackV4, in: bytes))
  }

  /// `iptables-save`, next to the rules of a mapping, and others' rules in it.
  static func rules(_ text: String) {
    let saved = SavedRules(text)
    for (id, _) in RuleCounters.led(in: Array(text.utf8), prefix: "portmap:") {
      expect(id.utf8.count <= 24, "an id that is a whole text")
    }
    for (family, mapping) in Sample.mappings {
      let comparison = RuleComparison(
        family,
        chains: Sample.wanted.chains,
        entries: Sample.wanted.entries,
        saved: saved,
        Sample.layout
      )
      expect(comparison.differences.isEmpty == comparison.repairText.isEmpty, "a problem that is not mended")
      for line in comparison.repairText.split(separator: "\n") {
        expect(!line.utf8.contains(0x0D) || text.utf8.contains(0x0D), "a line that was not there")
      }
      _ = ForeignRules(saved: saved, layout: Sample.layout).taking(
        mapping,
        hook: "PREROUTING",
        before: "PORTMAP"
      )
      _ = ForwardDrops(saved: saved, layout: Sample.layout).dropping(mapping, link: "br0")
      _ = Sample.removal.present(in: saved, family).removeText(family)
    }
  }

  /// What the kernel's netfilter subsystems answer, and its own list of flows.
  static func netlink(_ bytes: [UInt8]) {
    for message in NetlinkMessages(bytes[...]) {
      _ = (Route(message), Neighbour(message))
      _ = (message.errno, message.attributes.number(NFTA_GEN_ID, UInt32.self))
      var deletion: [UInt8] = []
      Flow.deletion(message).append(to: &deletion, sequence: 1, flags: 0)
      let flow = Flow(message)
      let again = NetlinkMessages(deletion[...]).map { Flow($0) }
      expect(again == [flow], "another flow would be deleted")
      _ = flow.map { Sample.flows.matches($0) }
    }
    _ = Sample.flows.mayMatch(list: bytes)
  }

  /// `nft --json list table …`.
  static func nft(_ bytes: [UInt8]) {
    guard let ruleset = NativeRuleset(bytes) else { return }
    _ = NativeTables.drops(in: ruleset, Sample.traffic)
  }

  static func expect(_ condition: Bool, _ words: String) {
    guard !condition else { return }
    fatalError(words)
  }
}

/// A state with mappings of both families, whose rules are those that portmap makes.
enum Sample {
  static let layout = ChainLayout(tag: "")

  static let mappings: [(IPAddress.Family, Mapping)] = [
    (.v4, mapping("10.99.0.2")), (.v6, mapping("fd00:99::2")),
  ]

  static let state: State = {
    var wanted = Wanted(holder: "abcdef02")
    wanted.mappings = mappings.map(\.1)
    let host = HostFacts(
      layout: layout,
      interfaces: Interfaces([]),
      firewall: FirewallFacts(variant: "nf_tables", hasIPv6: true)
    )
    let empty = State(netnsCookie: 1, bootID: "boot")
    return (try? Plan.making(wanted, in: empty, on: host))?.next ?? empty
  }()

  static let traffic = NativeTraffic.all(
    mappings.map(\.1),
    bridges: Subnet("172.16.42.1/24").map { [("portmap0", $0)] } ?? [],
    link: { _ in "br0" }
  )

  static let flows = FlowFilters(mappings.map(\.1.flows))

  /// What its rules are, and what goes with them.
  static let wanted = ExpectedRules(state)
  static let removal = Plan.releasing(state.everything, everything: true, from: state).removal.change

  private static func mapping(_ backend: String) -> Mapping {
    let host = PortRange(first: 8080, count: 10) ?? .unknown
    let ports = PortRange(first: 80, count: 10) ?? .unknown
    let pair = PortPair(
      transport: .tcp,
      hostIP: .every,
      hostPorts: host,
      backendIP: IPAddress(backend) ?? .anyV4,
      backendPorts: ports
    )
    return Mapping(id: "abcdef01", pair: pair, delivery: Delivery(rules: true, nat: true, proxy: true))
  }
}
