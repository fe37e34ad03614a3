import Foundation
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

    /// Carries out the rules of a plan, as a transaction does.
    mutating func carryOut(_ plan: Plan) throws {
      try apply(plan.making.change, removing: false)
      try apply(plan.removal.change, removing: true)
      state = plan.next
    }

    mutating func make(_ wanted: Wanted) throws {
      try carryOut(.making(wanted, in: state, on: Samples.host))
    }

    mutating func release(_ selection: Selection, everything: Bool = false) throws {
      try carryOut(.releasing(selection, everything: everything, from: state))
    }

    /// Whether every rule of the state stands once, and every chain of it is there and no other, its rules in the
    /// order that the state expects.
    func check() {
      let expected = ExpectedRules(state)
      for (place, rules) in expected.chains {
        #expect(tables[place.family]?.tables[place.table.rawValue]?[place.name] == rules.map(\.match))
      }
      for family in IPAddress.Family.allCases {
        let saved = tables[family]?.saved
        let comparison = RuleComparison(
          family,
          chains: expected.chains,
          entries: expected.entries,
          saved: saved ?? SavedRules(""),
          ChainLayout(tag: "")
        )
        #expect(comparison.differences.isEmpty && comparison.repairText.isEmpty)
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
        var wanted = Wanted(holder: "")
        wanted.bridges = [BridgeRecord(name: "portmap0", subnet: subnet, isOwn: true)]
        try host.make(wanted)
      }
      for number in 0..<Int.random(in: 1...12, using: &random) {
        if Int.random(in: 0...3, using: &random) == 0,
          let gone = host.state.mappings.randomElement(using: &random)
        {
          try host.release(Selection(mappings: [gone.id]))
        }
        var wanted = Wanted(holder: "c0000001")
        wanted.mappings = [try Samples.mapping(number: number, using: &random)]
        try host.make(wanted)
        host.check()
      }
      while let gone = host.state.mappings.randomElement(using: &random) {
        let other = host.state.mappings.randomElement(using: &random)
        try host.release(Selection(mappings: [gone.id, other?.id ?? gone.id]))
        host.check()
      }
      #expect(host.state.shared.isEmpty)
      if hasBridge {
        #expect(host.tables != untouched)
        try host.release(host.state.everything, everything: true)
      }
      #expect(host.state.chains.isEmpty)
      #expect(host.state.firewallVariant == nil)
      #expect(host.tables == untouched)
    }
  }

  @Test func everythingAtOnce() throws {
    var random = SeededGenerator(seed: 7)
    var host = Host()
    let untouched = host.tables
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = try (0..<30).map { try Samples.mapping(number: $0, using: &random) }
    try host.make(wanted)
    host.check()
    try host.release(host.state.everything, everything: true)
    #expect(host.state.rules.isEmpty && host.state.chains.isEmpty && host.state.mappings.isEmpty)
    #expect(host.tables == untouched)
  }

  /// After somebody has flushed or doubled rules, what is there is still taken away.
  @Test func removalOfWhatIsPresent() throws {
    let mapping = try Samples.record("a0000001", "8080:80", proxy: false)
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

  /// Rules that an earlier version has made and recorded are no differences, whatever this one would make; its own
  /// join them, and all of it goes.
  @Test(arguments: [true, false])
  func rulesOfAnEarlierVersion(goFirst: Bool) throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../Fixtures/state-0.1.0/state.json")
    var coder = StateCoder()
    var host = Host()
    let untouched = host.tables
    host.state = try coder.decode(try Data(contentsOf: file), path: file.path)
    #expect(host.state.chains.contains { chain in chain.head.contains { $0.match.contains("RELATED") } })
    for batch in host.state.batches {
      try host.apply(RuleChange(chains: batch.chains, rules: batch.rules), removing: false)
    }
    host.check()
    let old = host.state.everything
    var random = SeededGenerator(seed: 9)
    for number in 20..<28 {
      var wanted = Wanted(holder: "c0000001")
      wanted.mappings = [try Samples.mapping(number: number, using: &random)]
      try host.make(wanted)
    }
    host.check()
    if goFirst {
      try host.release(old)
      host.check()
    }
    for mapping in host.state.mappings {
      try host.release(Selection(mappings: [mapping.id]))
      host.check()
    }
    try host.release(host.state.everything, everything: true)
    #expect(host.state.chains.isEmpty && host.state.rules.isEmpty)
    #expect(host.tables == untouched)
  }

  /// What a plan makes is what undoing it takes away, to the letter.
  @Test func undoingTakesAwayWhatIsMade() throws {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<40 {
      var host = Host()
      var wanted = Wanted(holder: "c0000001")
      wanted.mappings = [try Samples.mapping(number: 0, using: &random)]
      try host.make(wanted)
      let before = host.tables
      wanted.mappings = try (1..<4).map { try Samples.mapping(number: $0, using: &random) }
      let plan = try Plan.making(wanted, in: host.state, on: Samples.host)
      try host.apply(plan.making.change, removing: false)
      try host.apply(plan.making.undoing(variant: "nf_tables").change, removing: true)
      #expect(host.tables == before)
    }
  }
}
