import Testing

@testable import portmap

/// What has to be made and released, as values.
@Suite struct ReconciliationTests {
  private static let file = "/etc/portmap.conf"

  private func declarations(_ text: String, in file: String = Self.file) throws -> [Declaration] {
    let context = try Context(ParsedArguments([], options: [], startsCommand: false), environment: [:])
    let read = DeclarationFile(name: file, bytes: Array(text.utf8)).declarations(
      CommandTable.declarations,
      context
    )
    #expect(read.mistakes.isEmpty, "\(read.mistakes.map(\.message))")
    return read.declarations
  }

  private func reconcile(_ text: String, _ state: State) throws -> Reconciliation {
    Reconciliation(of: try declarations(text), from: [Self.file], in: state) { _ in
      .failure(OperationError.unknownBackend("?"))
    }
  }

  /// A state with mappings of the file, each with the id a0000001 and so on, and reservations from b0000001 on.
  private func state(_ mappings: [(String, String)], reserved: [UInt16] = [], origin: String? = Self.file)
    throws
    -> State
  {
    var state = State(netnsCookie: 1, bootID: "boot")
    for (index, (spec, backend)) in mappings.enumerated() {
      var record = try Samples.record("a000000\(index + 1)", spec, to: backend)
      record.mapping.origin = origin.map { Origin(name: $0, line: index + 1) }
      state.mappings.append(record)
    }
    for (index, port) in reserved.enumerated() {
      var reservation = Reservation(id: "b000000\(index + 1)", transport: .tcp, hostIP: .every, port: port)
      reservation.origin = origin.map { Origin(name: $0, line: 1) }
      state.reservations.append(ReservationRecord(reservation: reservation, holder: "c0000001"))
    }
    return state
  }

  @Test func whatIsThereStaysWhereverItsLineStands() throws {
    let state = try state([("8080:80", "10.0.0.2"), ("8081:81/udp", "10.0.0.3")], reserved: [9000])
    let text = "alloc 9000\n\nmap 8081:81/udp --to 10.0.0.3\nmap 8080:80 --to 10.0.0.2"
    let comparison = try reconcile(text, state)
    #expect(comparison.tasks.isEmpty && comparison.released.isEmpty)
    #expect(comparison.unchanged.mapValues(\.line) == ["a0000001": 4, "a0000002": 3, "b0000001": 1])
  }

  @Test func anotherBackendTakesThePort() throws {
    let state = try state([("8080:80", "10.0.0.2"), ("8081:80", "10.0.0.2")])
    let comparison = try reconcile("map 8080:80 8081:80 --to 10.0.0.3", state)
    #expect(comparison.released.isEmpty && comparison.unchanged.isEmpty)
    #expect(comparison.tasks.map(\.replaced.mappings) == [["a0000001", "a0000002"]])
    #expect(comparison.tasks[0].inTheWay.isEmpty)
  }

  /// Of two automatic ports the one whose declaration is gone goes, not the last.
  @Test func automaticOnesArePairedByMeaningFirst() throws {
    let state = try state([("49153:80", "10.0.0.2"), ("49154:80", "10.0.0.3")])
    let gone = try reconcile("map 0:80 --to 10.0.0.3", state)
    #expect(gone.unchanged.keys.sorted() == ["a0000002"] && gone.released.mappings == ["a0000001"])
    #expect(gone.tasks.isEmpty)
    let changed = try reconcile("map 0:80 --to 10.0.0.4\nmap 0:80 --to 10.0.0.3", state)
    #expect(changed.unchanged.keys.sorted() == ["a0000002"] && changed.released.isEmpty)
    #expect(changed.tasks.map(\.needs.first?.request.choice) == [.exactly(try #require(PortRange("49153")))])
    let both = try reconcile("map 0:80 --to 10.0.0.5\nmap 0:80 --to 10.0.0.6", state)
    #expect(both.tasks.map(\.replaced.mappings) == [["a0000001"], ["a0000002"]], "in the order of the file")
    let elsewhere = try reconcile("map 0:80 --to 10.0.0.2 --range 50000-50010", state)
    #expect(elsewhere.released.mappings == ["a0000001", "a0000002"] && elsewhere.tasks.count == 1)
  }

  @Test func bothTransportsHaveOneNumber() throws {
    let state = try state([
      ("49153:53", "10.0.0.2"), ("49154:53/udp", "10.0.0.2"), ("49155:53/udp", "10.0.0.2"),
    ])
    let comparison = try reconcile("map 0:53/tcp+udp --to 10.0.0.2", state)
    #expect(comparison.unchanged.keys.sorted() == ["a0000001"])
    let requests = comparison.tasks.flatMap { $0.needs.map(\.request) }
    #expect(requests.map(\.transports) == [[.udp]])
    #expect(requests.map(\.choice) == [.exactly(try #require(PortRange("49153")))])
    #expect(comparison.released.mappings == ["a0000002", "a0000003"])
  }

  @Test func othersAreLeftAlone() throws {
    for origin in [nil, "/etc/other.conf"] {
      let state = try state([("8080:80", "10.0.0.2")], reserved: [9000], origin: origin)
      let comparison = try reconcile("map 8080:80 --to 10.0.0.2\nalloc 9000", state)
      #expect(comparison.unchanged.isEmpty && comparison.released.isEmpty)
      #expect(comparison.tasks.count == 2 && comparison.tasks.allSatisfy(\.replaced.isEmpty))
    }
  }

  @Test func overlappingAddressesAreInTheWay() throws {
    let state = try state([("8080:80", "10.0.0.2")], reserved: [9000])
    let comparison = try reconcile("map 127.0.0.1:8080:80 --to 10.0.0.2\nalloc 9000", state)
    #expect(comparison.released.mappings == ["a0000001"])
    #expect(comparison.tasks.map(\.inTheWay.mappings) == [["a0000001"]])
  }

  @Test func aRangeThatShrinksHandsItsPortsOn() throws {
    let state = try state([("8000-8010:80-90", "10.0.0.2")])
    let comparison = try reconcile("map 8000-8004:80-84 --to 10.0.0.2\nalloc 8010", state)
    #expect(comparison.tasks[0].replaced.mappings == ["a0000001"] && comparison.released.isEmpty)
  }

  @Test func thatMapTookAReservationOverCounts() throws {
    var state = try state([("9000:80", "10.0.0.2")], origin: nil)
    state.mappings[0].mapping.tookOver = Origin(name: Self.file, line: 1)
    let comparison = try reconcile("alloc 9000", state)
    #expect(comparison.tasks.isEmpty && comparison.released.isEmpty && comparison.unchanged.count == 1)
    #expect(try reconcile("", state).released.isEmpty)
  }

  /// Releasing and making in one plan: what both need stays, and the ports are handed on.
  @Test func onePlanReleasesAndMakes() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [
      try Samples.mapping("a0000001", "8080:80"), try Samples.mapping("a0000002", "8081:80", to: "10.0.0.3"),
    ]
    let empty = State(netnsCookie: 1, bootID: "boot")
    var before = try Plan.making(wanted, in: empty, on: Samples.host).next
    before.holders = [HolderRecord(id: "c0000001", process: ProcessIdentity(pid: 7, startTime: 9))]
    var next = Wanted(holder: "c0000002")
    next.mappings = [try Samples.mapping("a0000003", "8080:81")]
    next.handedOn = ["a0000001"]
    let released = Selection(mappings: ["a0000001", "a0000002"])
    let plan = try Plan.making(next, releasing: released, in: before, on: Samples.host)
    #expect(plan.next.mappings.map(\.id) == ["a0000003"])
    #expect(plan.making.takenOver == [HoldingReference(holder: "c0000001", id: "a0000001")])
    #expect(plan.making.change.chains.isEmpty, "the chains are there")
    // Nothing that a rule or a chain of the next state hangs on goes.
    #expect(plan.removal.change.chains.map(\.name) == ["PORTMAP-BACKEND-03"])
    let gone = plan.removal.change.rules
    #expect(gone.contains { $0.text.contains("10.0.0.3") } && !gone.contains { $0.text.contains("a0000003") })
    #expect(
      !plan.making.change.rules.contains { $0.text.contains("\"portmap:backend\"") },
      "the backend's stay"
    )
    #expect(!gone.contains { $0.text.contains("backend") && $0.text.contains("10.0.0.2") })
    #expect(plan.removal.holders == ["c0000001"] && plan.removal.holdings.isEmpty)
    #expect(plan.next.holders.isEmpty)
    #expect(Set(plan.next.rules).isDisjoint(with: gone))
  }

  /// A chain that is new keeps those that lead to it, though all that was in them goes.
  @Test func newChainsKeepTheWayToThem() throws {
    var wanted = Wanted(holder: "c0000001")
    wanted.mappings = [try Samples.mapping("a0000001", "8080:80")]
    let before = try Plan.making(wanted, in: State(netnsCookie: 1, bootID: "boot"), on: Samples.host).next
    var next = Wanted(holder: "c0000002")
    next.mappings = [try Samples.mapping("a0000002", "9090:80", to: "10.0.0.3")]
    let plan = try Plan.making(
      next,
      releasing: Selection(mappings: ["a0000001"]),
      in: before,
      on: Samples.host
    )
    let gone = Set(plan.removal.change.chains.map(\.place))
    #expect(gone.map(\.name).sorted() == ["PORTMAP-BACKEND-02", "PORTMAP-IN-TCP-31", "PORTMAP-TCP-31"])
    let needed = plan.next.chains.flatMap(\.entries).map(\.place) + plan.next.rules.map(\.place)
    #expect(gone.isDisjoint(with: needed))
  }
}
