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
      _ = State(netnsCookie: 1, bootID: "").match(target)
      if case .name(let name) = target { expect(!Identifier.isID(name), "a name like an id") }
    }
    if let subnet = Subnet(text) {
      expect(subnet.contains(subnet.network) && subnet.contains(subnet.last), "a network without its ends")
      expect(Subnet(subnet.description) == subnet, "another network when read again")
    }
    if let address = IPAddress(text) { expect(IPAddress(address.description) == address, "another address") }
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
    let (after, intent) = Release.plan(state.everything, everything: true, state)
    expect(after.mappings.isEmpty && after.reservations.isEmpty, "something stays")
    let wanted = ExpectedRules(state)
    for family in intent.change.families {
      _ = intent.change.removeText(family)
      let comparison = RuleComparison(
        family,
        chains: wanted.chains,
        entries: wanted.entries,
        saved: SavedRules(""),
        Sample.layout
      )
      _ = comparison.problems
      _ = comparison.repairText
    }
    for mapping in state.mappings {
      _ = (mapping.description, mapping.target, mapping.lease, mapping.flows, mapping.sharedKeys)
      _ = ChainLayout(tag: "").rules(for: mapping)
    }
    for reservation in state.reservations { _ = (reservation.target, reservation.lease) }
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
  }

  /// `iptables-save`, next to the rules of a mapping, and others' rules in it.
  static func rules(_ text: String) {
    let saved = SavedRules(text)
    for (family, mapping) in Sample.mappings {
      let comparison = RuleComparison(
        family,
        chains: Sample.wanted.chains,
        entries: Sample.wanted.entries,
        saved: saved,
        Sample.layout
      )
      expect(comparison.problems.isEmpty == comparison.repairText.isEmpty, "a problem that is not mended")
      for line in comparison.repairText.split(separator: "\n") {
        expect(!line.utf8.contains(0x0D) || text.utf8.contains(0x0D), "a line that was not there")
      }
      _ = ForeignRules(saved: saved, layout: Sample.layout).taking(
        mapping,
        hook: "PREROUTING",
        before: "PORTMAP"
      )
      _ = Sample.removal.present(in: saved, family).removeText(family)
    }
  }

  /// `conntrack -L`, and the kernel's own list.
  static func flows(_ text: String) {
    for flow in Flows.flows(in: text) {
      expect(flow.transport.rawValue.count >= 3, "a flow of no protocol")
    }
  }

  /// `nft --json list table …`.
  static func nft(_ bytes: [UInt8]) {
    guard let ruleset = NativeRuleset(bytes) else { return }
    _ = NativeTables.problems(in: ruleset, Sample.traffic)
  }

  private static func expect(_ condition: Bool, _ words: String) {
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
    var state = State(netnsCookie: 1, bootID: "boot")
    state.serial = 1
    state.mappings = mappings.map(\.1)
    state.chains = RuleChange.adding(state.batch(1).rules, to: [], layout, serial: 1).chains
    return state
  }()

  static let traffic = NativeTraffic.all(
    mappings.map(\.1),
    bridges: Subnet("172.16.42.1/24").map { [("portmap0", $0)] } ?? [],
    link: { _ in "br0" }
  )

  /// What its rules are, and what goes with them.
  static let wanted = ExpectedRules(state)
  static let removal = Release.plan(state.everything, everything: true, state).1.change

  private static func mapping(_ backend: String) -> Mapping {
    var mapping = Mapping(
      id: "abcdef01",
      transport: .tcp,
      hostIP: .every,
      hostPort: 8080,
      hostPortEnd: 8089,
      backendIP: IPAddress(backend) ?? .anyV4,
      backendPort: 80,
      backendPortEnd: 89,
      nat: true,
      proxy: true,
      holder: "abcdef02"
    )
    mapping.rules = layout.rules(for: mapping)
    mapping.serial = 1
    return mapping
  }
}
