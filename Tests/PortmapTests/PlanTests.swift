import Testing

@testable import portmap

/// What a plan says besides rules.
@Suite struct PlanTests {
  private let web = "172.16.42.2"

  private func state(_ wanted: Wanted) throws -> State {
    try Plan.making(wanted, in: State(netnsCookie: 1, bootID: "boot"), on: Samples.host).next
  }

  private func reservation(_ port: UInt16, _ id: String) -> Reservation {
    Reservation(id: id, transport: .tcp, hostIP: .every, port: port)
  }

  @Test func mappingsAreHeldAndRecorded() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [
      try Samples.mapping("a0000001", "8080:80"), try Samples.mapping("a0000002", "53:53/udp"),
    ]
    let plan = try Plan.making(wanted, in: State(netnsCookie: 1, bootID: "boot"), on: Samples.host)
    #expect(plan.making.holdings == wanted.mappings.map { .mapping($0) })
    #expect(plan.next.mappings.map(\.holder) == ["c0000001", "c0000001"])
    #expect(plan.making.forwarding == [.v4])
    #expect(plan.making.flows == wanted.mappings.map(\.flows))
    #expect(plan.next.firewallVariant == "nf_tables")
    #expect(plan.making.undoing(variant: "nf_tables").holders == ["c0000001"])
    #expect(plan.removal.isEmpty)
  }

  @Test func withoutIPv6ThereAreNoRulesForIt() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [try Samples.mapping("a0000001", "8080:80")]
    var host = Samples.host
    host.firewall = FirewallFacts(variant: "legacy", hasIPv6: false)
    let plan = try Plan.making(wanted, in: State(netnsCookie: 1, bootID: "boot"), on: host)
    #expect(plan.making.change.families == [.v4])
    #expect(plan.next.saidNoIPv6 && plan.notices.count == 1)
    wanted.mappings = [try Samples.mapping("a0000002", "8081:80", to: "2001:db8::2")]
    #expect(throws: OperationError.self) { try Plan.making(wanted, in: plan.next, on: host) }
  }

  @Test func takingOverEndsWhoHoldsNothingMore() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.reservations = [reservation(8080, "b0000001"), reservation(9090, "b0000002")]
    var before = try state(wanted)
    before.holders = [HolderRecord(id: "c0000001", process: ProcessIdentity(pid: 1, startTime: 1))]
    var next = Wanted(holder: "c0000002")
    next.mappings = [try Samples.mapping("a0000001", "8080:80")]
    next.takenOver = [before.reservations[0]]
    let one = try Plan.making(next, in: before, on: Samples.host)
    let reference = HoldingReference(holder: "c0000001", id: "b0000001")
    #expect(one.removal.holdings == [reference] && one.removal.holders.isEmpty)
    #expect(one.making.undoing(variant: nil).restored == [reference])
    #expect(one.next.reservations == [before.reservations[1]])
    next.takenOver = before.reservations
    let both = try Plan.making(next, in: before, on: Samples.host)
    #expect(both.removal.holdings.isEmpty && both.removal.holders == ["c0000001"])
    #expect(both.next.holders.isEmpty)
  }

  @Test func holdingAgainEndsTheFormerProcess() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.reservations = [reservation(8080, "b0000001"), reservation(9090, "b0000002")]
    let before = try state(wanted)
    let one = Launch(holder: "c0000002", holdings: [.reservation(wanted.reservations[0])])
    let some = Plan.holdingAgain(one, in: before)
    #expect(some.removal.holders.isEmpty)
    #expect(some.next.reservations.map(\.holder) == ["c0000002", "c0000001"])
    let both = Launch(holder: "c0000002", holdings: wanted.reservations.map { .reservation($0) })
    #expect(Plan.holdingAgain(both, in: before).removal.holders == ["c0000001"])
  }

  /// A process enters one namespace, so what leads into two, and into none, is held by three.
  @Test func aProcessForEachNamespace() throws {
    let web = try #require(GuestNamespace(text: "4026532201:web"))
    let other = try #require(GuestNamespace(text: "4026532202@1:4711"))
    var wanted = Wanted(holder: "c0000001")
    for (number, guest) in [web, nil, other, web].enumerated() {
      var mapping = try Samples.mapping("a000000\(number)", "\(8080 + number):80")
      mapping.into = guest
      wanted.mappings.append(mapping)
    }
    wanted.guestHolders = [web: "c0000002", other: "c0000003"]
    let plan = try Plan.making(wanted, in: try state(Wanted(holder: "")), on: Samples.host)
    #expect(plan.next.mappings.map(\.holder) == ["c0000002", "c0000001", "c0000003", "c0000002"])
    #expect(plan.making.launches.map(\.guest) == [web, nil, other])
    #expect(plan.making.launches.map { $0.holdings.map(\.id) }.first == ["a0000000", "a0000003"])
    #expect(Set(plan.making.undoing(variant: nil).holders) == ["c0000001", "c0000002", "c0000003"])
  }

  @Test func releaseNamesWhatEnds() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [try Samples.mapping("a0000001", "8080:80")]
    wanted.reservations = [reservation(9000, "b0000001")]
    let before = try state(wanted)
    let plan = Plan.releasing(Selection(mappings: ["a0000001"]), from: before)
    // Its process still holds the reservation: it only lets go.
    #expect(plan.removal.holdings == [HoldingReference(holder: "c0000001", id: "a0000001")])
    #expect(plan.removal.holders.isEmpty)
    #expect(plan.removal.flows == [FlowFilter(transport: .tcp, hostIP: .every, first: 8080, last: 8080)])
    #expect(plan.next.mappings.isEmpty && plan.next.reservations == before.reservations)
    #expect(plan.making.isEmpty)
  }

  @Test func implicitAddressGoesWithItsLastMapping() throws {
    let ip = try Samples.address("10.0.0.2")
    var wanted = Wanted(holder: "c0000001")
    wanted.bridges = [BridgeRecord(name: "portmap0", subnet: try Samples.subnet("10.0.0.1/24"), isOwn: true)]
    wanted.addresses = [AllocatedAddress(ip: ip, bridge: "portmap0", isImplicit: true)]
    wanted.mappings = [
      try Samples.mapping("a0000001", "8080:80"), try Samples.mapping("a0000002", "8081:80"),
    ]
    let before = try state(wanted)
    let first = Plan.releasing(Selection(mappings: ["a0000001"]), from: before)
    #expect(first.next.addresses == wanted.addresses)
    let second = Plan.releasing(Selection(mappings: ["a0000002"]), from: first.next)
    #expect(second.next.addresses.isEmpty)
    #expect(second.next.bridges.first?.freed == [ip])
    #expect(second.removal.links.isEmpty)
    let last = Plan.releasing(second.next.everything, everything: true, from: second.next)
    #expect(last.next.bridges.isEmpty && last.removal.links == ["portmap0"])
  }

  /// A removal that had to wait takes nothing away that was made again since.
  @Test func aLateRemovalSparesWhatIsNeeded() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [try Samples.mapping("a0000001", "8080:80")]
    let plan = try Plan.making(wanted, in: State(netnsCookie: 1, bootID: "boot"), on: Samples.host)
    let removal = plan.making.undoing(variant: "nf_tables")
    #expect(removal.sparing(State(netnsCookie: 1, bootID: "boot")) == removal)
    wanted.mappings = [try Samples.mapping("a0000002", "8081:80")]
    let since = try state(wanted)
    let spared = removal.sparing(since)
    // The chains and the backend's rules are in use again; the first mapping's own rules are not.
    #expect(spared.change.chains.isEmpty)
    #expect(spared.change.rules == plan.next.mappings[0].rules)
  }
}
