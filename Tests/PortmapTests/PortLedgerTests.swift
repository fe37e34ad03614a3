import Testing

@testable import portmap

@Suite struct PortLedgerTests {
  private func host(_ text: String) throws -> HostAddress {
    text == "*" ? .every : .one(try Samples.address(text))
  }

  @Test func whatIsGivenOutIsKnownByItsOwner() throws {
    let reservation = Reservation(
      id: "b0000001",
      transport: .udp,
      hostIP: .every,
      port: 53
    )
    let ledger = PortLedger(
      mappings: [
        try Samples.mapping("a0000001", "8000-8010:80-90"),
        try Samples.mapping("a0000002", "127.0.0.1:9000:80"),
        try Samples.mapping("a0000003", "0.0.0.0:9001:80"),
      ],
      reservations: [reservation]
    )
    func owner(_ transport: Transport, _ address: String, _ port: UInt16) throws -> String? {
      switch ledger.owner(transport, try host(address), port) {
      case .mapping(let mapping)?: mapping.id
      case .reservation(let reservation)?: reservation.id
      case nil: nil
      }
    }
    for port: UInt16 in [8000, 8005, 8010] {
      #expect(try owner(.tcp, "*", port) == "a0000001")
      #expect(try owner(.tcp, "::1", port) == "a0000001")
      #expect(try owner(.udp, "*", port) == nil)
    }
    #expect(try owner(.tcp, "*", 7999) == nil)
    #expect(try owner(.tcp, "*", 8011) == nil)
    #expect(try owner(.tcp, "127.0.0.1", 9000) == "a0000002")
    #expect(try owner(.tcp, "127.0.0.2", 9000) == nil)
    #expect(try owner(.tcp, "*", 9000) == "a0000002")
    #expect(try owner(.tcp, "0.0.0.0", 9000) == "a0000002")
    #expect(try owner(.tcp, "::", 9000) == nil)
    #expect(try owner(.tcp, "192.0.2.1", 9001) == "a0000003")
    #expect(try owner(.tcp, "2001:db8::1", 9001) == nil)
    #expect(try owner(.udp, "192.0.2.1", 53) == "b0000001")
    #expect(ledger.isGiven(.tcp, 9000) && !ledger.isGiven(.udp, 9000) && !ledger.isGiven(.sctp, 9000))
    #expect(!ledger.isGiven(.tcp, 0) && !ledger.isGiven(.tcp, 65535))
  }
}

/// The choice of ports, on addresses of 127.0.0.0/8 that no other test uses.
@Suite(.ownDescriptors) struct PortAllocatorTests {
  private let host = HostAddress.one(ownLoopbackAddress())
  private let keep = Keeper()

  private func allocator(
    mappings: [Mapping] = [],
    reservations: [Reservation] = [],
    reserved: [PortRange] = [],
    cursors: [String: UInt16] = [:],
    takeOver: ((Holding) throws -> Descriptor)? = nil,
    isPreview: Bool = false
  ) -> PortAllocator {
    PortAllocator(
      ledger: PortLedger(mappings: mappings, reservations: reservations),
      reservedPorts: reserved,
      isForTaking: { _ in takeOver != nil },
      takeOver: { owner, _ in try #require(try takeOver?(owner)) },
      cursors: cursors,
      isPreview: isPreview
    )
  }

  private func request(
    _ choice: PortRequest.Choice,
    width: Int = 1,
    transports: [Transport] = [.tcp]
  ) -> PortRequest {
    PortRequest(choice: choice, width: width, hosts: [host], transports: transports)
  }

  private func range(_ text: String) throws -> PortRange { try #require(PortRange(text[...])) }

  private func mapping(_ ports: PortRange, _ transport: Transport = .tcp) throws -> Mapping {
    try Samples.mapping("a0000001", "\(host.prefix)\(ports):\(ports)\(transport.suffix)")
  }

  @Test(arguments: [Transport.tcp, .udp])
  func strangersPortIsAConflict(_ transport: Transport) throws {
    keep(try PortSocket.reserve(transport, host, 20001))
    var allocator = allocator()
    let error = #expect(throws: AllocationError.self) {
      try allocator.hold(request(.exactly(try range("20000-20002")), width: 3, transports: [transport]))
    }
    guard case .inUse(let name, _, 20001)? = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(name == "\(host.prefix)20001\(transport.suffix)")
  }

  @Test func lowestFreeOneOfARange() throws {
    for port: UInt16 in [20000, 20001] { keep(try PortSocket.reserve(.tcp, host, port)) }
    let given = try mapping(try range("20002-20004"))
    var allocator = allocator(mappings: [given], reserved: [try range("20005-20006")])
    let held = try allocator.hold(request(.lowest(of: try range("20000-20010"))))
    // A range that somebody named takes no notice of reserved ports.
    #expect(held.ports.first == 20005)
  }

  @Test func consecutivePortsOfAWidth() throws {
    for port: UInt16 in [20002, 20006] { keep(try PortSocket.reserve(.tcp, host, port)) }
    var allocator = allocator()
    let held = try allocator.hold(request(.next(in: try range("20000-20010")), width: 4))
    #expect(held.ports == (try range("20007-20010")))
    #expect(held.sockets.map(\.sockets.count) == [4])
  }

  @Test func tooFewInARowIsAConflict() throws {
    for port: UInt16 in [20003, 20007] { keep(try PortSocket.reserve(.tcp, host, port)) }
    var allocator = allocator()
    let error = #expect(throws: AllocationError.self) {
      try allocator.hold(request(.next(in: try range("20000-20010")), width: 4))
    }
    guard case .noneFree(_, 4, [.tcp])? = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }

  @Test func nextFitGoesOnAndWrapsAround() throws {
    var allocator = allocator(cursors: ["tcp": 20008])
    let range = try range("20007-20010")
    var given: [UInt16] = []
    for _ in 0..<6 { given.append(try allocator.hold(request(.next(in: range))).ports.first) }
    // Each was let go of at once: a port does not come again before the others had their turn.
    #expect(given == [20009, 20010, 20007, 20008, 20009, 20010])
    #expect(allocator.cursors == ["tcp": 20010])
  }

  @Test func cursorOutsideTheRangeStartsAtItsBeginning() throws {
    for cursor: UInt16 in [1, 20006, 20011, 65535, 20010] {
      var allocator = allocator(cursors: ["tcp": cursor])
      #expect(try allocator.hold(request(.next(in: try range("20007-20010")))).ports.first == 20007)
    }
  }

  @Test func reservedAndGivenPortsAreSkipped() throws {
    let given = try mapping(try range("20002-20003"))
    var allocator = allocator(mappings: [given], reserved: [try range("20000-20001"), try range("20005")])
    let ports = try (0..<3).map { _ in
      try allocator.hold(request(.next(in: try range("20000-20007")))).ports.first
    }
    #expect(ports == [20004, 20006, 20007])
  }

  @Test func endOfTheNumbers() throws {
    var allocator = allocator(cursors: ["tcp": 65534])
    let range = try range("65533-65535")
    let ports = try (0..<3).map { _ in try allocator.hold(request(.next(in: range))).ports.first }
    #expect(ports == [65535, 65533, 65534])
    keep(try PortSocket.reserve(.tcp, host, 65535))
    #expect(throws: AllocationError.self) {
      try allocator.hold(request(.next(in: try self.range("65535"))))
    }
  }

  @Test func portsThatWouldBeTheirOwnBackendArePassedOver() throws {
    func first(_ choice: PortRequest.Choice, width: Int, not own: String) throws -> UInt16 {
      var request = request(choice, width: width)
      request.ownBackend = try range(own)
      var allocator = allocator()
      return try allocator.hold(request).ports.first
    }
    #expect(try first(.next(in: range("20000-20010")), width: 1, not: "20000") == 20001)
    #expect(try first(.lowest(of: range("20000-20010")), width: 3, not: "20000-20002") == 20001)
    // Each port of the run leads to another one.
    #expect(try first(.lowest(of: range("20000-20010")), width: 3, not: "20001-20003") == 20000)
    #expect(throws: AllocationError.self) {
      try first(.next(in: self.range("65535")), width: 1, not: "65535")
    }
  }

  @Test func sameNumberForBothTransportsAndAllAddresses() throws {
    let other = HostAddress.one(IPAddress(v4: 0x7F3F_0000 | .random(in: 1...0xFFFE)))
    keep(try PortSocket.reserve(.udp, other, 20000))
    var allocator = allocator()
    let held = try allocator.hold(
      PortRequest(
        choice: .lowest(of: try range("20000-20005")),
        width: 1,
        hosts: [host, other],
        transports: [.tcp, .udp]
      )
    )
    #expect(held.ports.first == 20001)
    #expect(
      held.sockets.map { "\($0.host) \($0.transport)" } == [
        "\(host) tcp", "\(host) udp", "\(other) tcp", "\(other) udp",
      ]
    )
  }

  @Test func whatPortmapGaveOutIsRefusedByItsOwner() throws {
    var allocator = allocator(mappings: [try mapping(try range("20000"))])
    let error = #expect(throws: AllocationError.self) {
      try allocator.hold(request(.exactly(try range("20000"))))
    }
    guard case .given(_, .mapping(let owner))? = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(owner.id == "a0000001")
  }

  @Test func reservedPortOfTheSameAddressIsTakenOver() throws {
    func reservation(_ host: HostAddress) -> Reservation {
      Reservation(id: "b0000001", transport: .tcp, hostIP: host, port: 20000)
    }
    let socket = try PortSocket.reserve(.tcp, host, 20000)
    var asked: [String] = []
    var same = allocator(reservations: [reservation(host)]) { reservation in
      asked.append(reservation.id)
      return socket
    }
    let held = try same.hold(request(.exactly(try range("20000-20001")), width: 2))
    #expect(asked == ["b0000001"])
    #expect(held.taken.map(\.owner.id) == ["b0000001"])
    #expect(held.sockets[0].sockets.count == 2)
    #expect(held.sockets[0].sockets[0] === socket)

    var wider = allocator(reservations: [reservation(.every)]) { _ in socket }
    #expect(throws: AllocationError.self) { try wider.hold(request(.exactly(try range("20000")))) }
    var notForTaking = allocator(reservations: [reservation(host)])
    #expect(throws: AllocationError.self) { try notForTaking.hold(request(.exactly(try range("20000")))) }
  }

  @Test func previewFindsConflictsAndHoldsNothing() throws {
    keep(try PortSocket.reserve(.tcp, host, 20000))
    var preview = allocator(mappings: [try mapping(try range("20001"))], isPreview: true)
    #expect(try preview.hold(request(.exactly(try range("20000")))).sockets[0].sockets.isEmpty)
    #expect(try preview.hold(request(.next(in: try range("20000-20001")))).ports == .unknown)
    #expect(throws: AllocationError.self) { try preview.hold(request(.exactly(try range("20001")))) }
    #expect(preview.cursors.isEmpty)
  }
}
