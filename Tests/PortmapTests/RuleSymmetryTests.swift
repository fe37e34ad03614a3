import Testing

@testable import portmap

/// What is installed is taken away again, in whatever order, with nothing left and nobody else's touched.
@Suite struct RuleSymmetryTests {
  private let layout = ChainLayout(tag: "")

  /// A host: its tables, and the state that portmap has recorded of them.
  private struct Host {
    var tables: [IPAddress.Family: RestoreModel] = [.v4: RestoreModel(), .v6: RestoreModel()]
    var state = State(netnsCookie: 1, bootID: "boot")

    mutating func apply(_ change: RuleChange, removing: Bool) throws {
      for family in change.families {
        try tables[family]?.restore(removing ? change.removeText(family) : change.installText(family))
      }
    }

    /// Installs what one call needs: the rules of a bridge, or a mapping with what it shares.
    mutating func install(_ rules: [Rule], _ layout: ChainLayout) throws {
      let change = RuleChange.adding(rules, to: state.chains, layout, serial: state.serial)
      try apply(change, removing: false)
      state.chains += change.chains
    }

    mutating func bring(_ bridge: BridgeRecord, _ layout: ChainLayout) throws {
      state.serial += 1
      var bridge = bridge
      bridge.rules = layout.rules(forBridge: bridge.name, bridge.subnet)
      bridge.serial = state.serial
      state.bridges.append(bridge)
      try install(bridge.rules, layout)
    }

    mutating func map(_ mapping: Mapping, _ layout: ChainLayout) throws {
      state.serial += 1
      var mapping = mapping
      mapping.serial = state.serial
      var shared: [Rule] = []
      for key in mapping.sharedKeys where !state.shared.contains(where: { $0.key == key }) {
        let rules =
          key.hasPrefix("forward")
          ? layout.forwarding(to: mapping.backendIP, from: nil) : layout.replies(from: mapping.backendIP)
        state.shared.append(SharedRules(key: key, rules: rules, serial: state.serial))
        shared += rules
      }
      state.mappings.append(mapping)
      try install(shared + mapping.rules, layout)
    }

    mutating func release(_ match: Selection, everything: Bool) throws {
      let (after, intent) = Release.plan(match, everything: everything, state)
      try apply(intent.change, removing: true)
      state = after
    }

    /// Whether every rule of the state stands once, and every chain of it is there and no other, its rules in the
    /// order that the state expects.
    func check() {
      for (place, rules) in ExpectedRules(state).chains {
        #expect(tables[place.family]?.tables[place.table.rawValue]?[place.name] == rules.map(\.match))
      }
      for family in IPAddress.Family.allCases {
        let saved = tables[family]?.saved
        for rule in state.rules where rule.family == family {
          #expect(saved?.count(of: rule) == 1, "\(rule.text)")
        }
        for table in Rule.Table.allCases {
          let recorded = Set(
            state.chains.filter { $0.family == family && $0.table == table.rawValue }.map(\.name)
          )
          let there = Set((saved?.chains[table.rawValue] ?? [:]).keys.filter { $0.hasPrefix("PORTMAP") })
          #expect(recorded == there)
        }
      }
    }
  }

  @Test func anyOrderLeavesNothing() throws {
    var random = SeededGenerator(seed: 6)
    for _ in 0..<40 {
      var host = Host()
      let untouched = host.tables
      let hasBridge = Bool.random(using: &random)
      if hasBridge {
        let subnet = try Samples.subnet("10.0.0.1/24")
        try host.bring(BridgeRecord(name: "portmap0", subnet: subnet, isOwn: true), layout)
      }
      for number in 0..<Int.random(in: 1...12, using: &random) {
        if Int.random(in: 0...3, using: &random) == 0,
          let gone = host.state.mappings.randomElement(using: &random)
        {
          try host.release(Selection(mappings: [gone.id]), everything: false)
        }
        try host.map(try Samples.mapping(number: number, using: &random), layout)
        host.check()
      }
      while let gone = host.state.mappings.randomElement(using: &random) {
        let other = host.state.mappings.randomElement(using: &random)
        try host.release(Selection(mappings: [gone.id, other?.id ?? gone.id]), everything: false)
        host.check()
      }
      #expect(host.state.shared.isEmpty)
      if hasBridge {
        #expect(host.tables != untouched)
        try host.release(host.state.everything, everything: true)
      }
      #expect(host.state.chains.isEmpty)
      #expect(host.state.firewallBackend == nil)
      #expect(host.tables == untouched)
    }
  }

  @Test func everythingAtOnce() throws {
    var random = SeededGenerator(seed: 7)
    var host = Host()
    let untouched = host.tables
    for number in 0..<30 { try host.map(try Samples.mapping(number: number, using: &random), layout) }
    try host.release(host.state.everything, everything: true)
    #expect(host.state.rules.isEmpty && host.state.chains.isEmpty && host.state.isEmpty)
    #expect(host.tables == untouched)
  }

  /// After somebody has flushed or doubled rules, what is there is still taken away.
  @Test func removalOfWhatIsPresent() throws {
    let mapping = try Samples.mapping("a0000001", "8080:80", proxy: false)
    let install = RuleChange.adding(mapping.rules, to: [], layout, serial: 1)
    let removal = RuleChange.removing(mapping.rules, from: install.chains, remaining: [])
    let untouched = RestoreModel()

    var flushed = untouched
    try flushed.restore(install.installText(.v4))
    try flushed.restore("*nat\n-F PREROUTING\n-F PORTMAP-TCP-31\nCOMMIT\n")
    #expect(throws: RestoreModel.Refused.self) { try flushed.restore(removal.removeText(.v4)) }
    try flushed.restore(removal.present(in: flushed.saved, .v4).removeText(.v4))
    #expect(flushed.tables["nat"]?.keys.contains { $0.hasPrefix("PORTMAP") } == false)

    var doubled = untouched
    try doubled.restore(install.installText(.v4))
    let entry = try #require(install.chains.first?.entries.first)
    try doubled.restore("*nat\n-A \(entry.chain) \(entry.match)\nCOMMIT\n")
    try doubled.restore(removal.present(in: doubled.saved, .v4).removeText(.v4))
    #expect(doubled == untouched)

    #expect(removal.present(in: untouched.saved, .v4).isEmpty)
  }

  @Test func releasePlanNamesWhatEnds() throws {
    var state = State(netnsCookie: 1, bootID: "boot")
    let one = try Samples.mapping("a0000001", "8080:80")
    var two = try Samples.mapping("a0000002", "8081:80/udp")
    two.holder = "c0000002"
    state.mappings = [one, two]
    state.reservations = [
      Reservation(id: "b0000001", transport: .tcp, hostIP: .every, port: 9000, holder: "c0000001")
    ]
    let (after, intent) = Release.plan(Selection(mappings: ["a0000001"]), everything: false, state)
    // Its process still holds the reservation: it only lets go.
    #expect(intent.leases == [HoldingReference(holder: "c0000001", lease: "a0000001")])
    #expect(intent.holders.isEmpty)
    #expect(intent.flows == [FlowFilter(transport: .tcp, hostIP: .every, first: 8080, last: 8080)])
    #expect(after.mappings == [two])
    #expect(after.reservations == state.reservations)
  }

  @Test func implicitAddressGoesWithItsLastMapping() throws {
    let ip = try Samples.address("10.0.0.2")
    var state = State(netnsCookie: 1, bootID: "boot")
    state.bridges = [BridgeRecord(name: "portmap0", subnet: try Samples.subnet("10.0.0.1/24"), isOwn: true)]
    state.addresses = [AllocatedAddress(ip: ip, bridge: "portmap0", isImplicit: true)]
    state.mappings = [try Samples.mapping("a0000001", "8080:80"), try Samples.mapping("a0000002", "8081:80")]
    let (first, _) = Release.plan(Selection(mappings: ["a0000001"]), everything: false, state)
    #expect(first.addresses == state.addresses)
    let (second, intent) = Release.plan(Selection(mappings: ["a0000002"]), everything: false, first)
    #expect(second.addresses.isEmpty)
    #expect(second.bridges.first?.freed == [ip])
    #expect(intent.links.isEmpty)
    let (last, end) = Release.plan(second.everything, everything: true, second)
    #expect(last.bridges.isEmpty && end.links == ["portmap0"])
  }
}
