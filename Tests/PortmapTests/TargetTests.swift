import Testing

@testable import portmap

/// What `unmap` and `list` take for what.
@Suite struct TargetTests {
  private func kind(_ text: String) throws -> String {
    switch try Target(text) {
    case .ports: "ports"
    case .spec: "spec"
    case .line: "line"
    case .address: "address"
    case .name: "name"
    case .id: "id"
    }
  }

  @Test(arguments: [
    ("8080", "ports"), ("8080/udp", "ports"), ("8080/tcp+udp", "ports"), ("127.0.0.1:8080", "ports"),
    ("[::1]:8080/udp", "ports"), ("8000-8010/udp", "ports"), ("8080:80/udp", "spec"), (":80", "spec"),
    ("0:80", "spec"), ("127.0.0.1::80", "spec"), ("[::1]:8080:80", "spec"), ("8000-8010:80-90", "spec"),
    ("172.16.42.2", "address"), ("::1", "address"), ("::80", "address"), ("1::2", "address"),
    ("2001:db8::5", "address"), ("web", "name"), ("_x", "name"), ("dead", "name"), ("a1b2c3d", "name"),
    ("a1b2c3d45", "name"), ("g1b2c3d4", "name"), ("A1b2c3d4", "name"), ("a1b2c3d4", "id"),
    ("deadbeef", "id"), ("f0000000", "id"), ("8080->172.16.42.2:80/udp", "line"),
    ("[::1]:8083->172.16.42.2:80", "line"), ("127.0.0.1:8082->[2001:db8::2]:80", "line"),
    ("8000-8010->172.16.42.2:80-90/udp", "line"),
  ])
  func reads(text: String, expected: String) throws {
    #expect(try kind(text) == expected)
  }

  @Test(arguments: [
    "", " ", "0", "0/udp", "8080 ", "65536", "80/", "80/TCP", "1:2:3:4", "[::1]", "172.16.42",
    "172.16.42.2/24",
    "fe80::1%eth0", "1a2b3c4d", "-web", ".web", "w eb", "wäb", "abcdefghijklmnop", "8080->",

    "8080->172.16.42.2", "8080->web:80", "8080->172.16.42.2:80/TCP", "8080->0.0.0.0:80", "8080->[::1:80",
    "8080->224.0.0.1:80", "8080 -> 172.16.42.2:80", "x->172.16.42.2:80", "8000-8010->172.16.42.2:80-91",
  ])
  func refusedWithItsText(_ text: String) {
    let error = #expect(throws: SpecError.self) { try Target(text) }
    #expect(error?.text == text)
  }

  /// Whatever names a mapping in what map and list print finds that mapping, and nothing else.
  @Test func printedFormsFindTheirMapping() throws {
    var random = SeededGenerator(seed: 2)
    var state = State(netnsCookie: 1, bootID: "boot")
    for number in 0..<60 {
      state.mappings.append(Samples.record(try Samples.mapping(number: number, using: &random)))
    }
    for mapping in state.mappings {
      let twins = state.mappings.filter {
        $0.transport == mapping.transport && $0.hostPorts == mapping.hostPorts
          && (mapping.hostIP == .every || $0.hostIP == mapping.hostIP)
      }
      #expect(state.selection([try Target(mapping.mapping.pair.target)]).mappings == Set(twins.map(\.id)))
      #expect(state.selection([try Target("\(mapping.mapping)")]).mappings == [mapping.id])
      #expect(state.selection([try Target(mapping.id)]).mappings == [mapping.id])
    }
  }

  @Test func portInsideARangeIsNoTarget() throws {
    var state = State(netnsCookie: 1, bootID: "boot")
    state.mappings = [try Samples.record("a0000001", "8000-8010:80-90")]
    for text in ["8005", "8000", "8000-8009", "8000-8010/udp", "127.0.0.1:8000-8010", "8000-8010:81-91"] {
      #expect(state.selection([try Target(text)]).isEmpty, "\(text)")
    }
    for text in ["8000-8010", "8000-8010:80-90", "8000-8010->10.0.0.2:80-90"] {
      #expect(state.selection([try Target(text)]).mappings == ["a0000001"], "\(text)")
    }
  }

  @Test func portWithoutAnAddressIsOnWhateverAddress() throws {
    var state = State(netnsCookie: 1, bootID: "boot")
    state.mappings = [
      try Samples.record("a0000001", "127.0.0.1:8080:80"), try Samples.record("a0000002", "[::1]:8080:80"),
      try Samples.record("a0000003", "8080:80/udp"),
    ]
    state.reservations = [
      ReservationRecord(
        reservation: Reservation(id: "b0000001", transport: .tcp, hostIP: .every, port: 9000),
        holder: "c0000001"
      )
    ]
    #expect(state.selection([try Target("8080")]).mappings == ["a0000001", "a0000002"])
    #expect(state.selection([try Target("127.0.0.1:8080")]).mappings == ["a0000001"])
    #expect(state.selection([try Target("8080/tcp+udp")]).mappings == ["a0000001", "a0000002", "a0000003"])
    #expect(state.selection([try Target("9000")]).reservations == ["b0000001"])
    #expect(state.selection([try Target("9000/udp")]).isEmpty)
  }

  @Test func addressesAndNames() throws {
    let ip = try #require(IPAddress("172.16.42.2"))
    var state = State(netnsCookie: 1, bootID: "boot")
    state.mappings = [try Samples.record("a0000001", "8080:80", to: "172.16.42.2")]
    state.addresses = [AllocatedAddress(ip: ip, bridge: "portmap0", name: "web")]
    for text in ["172.16.42.2", "web"] {
      let match = state.selection([try Target(text)])
      #expect(match.addresses == [ip])
      #expect(match.mappings == ["a0000001"])
    }
    #expect(state.selection([try Target("172.16.42.3")]).isEmpty)
  }

  @Test func absenceIsSaidInTheWordsOfTheContract() throws {
    for (target, absence) in [
      ("8080/udp", "port udp/8080 is not mapped"), ("8080", "port tcp/8080 is not mapped"),
      ("[::1]:8080", "port tcp/[::1]:8080 is not mapped"), ("8080:80/udp", "8080:80/udp is not mapped"),
      ("127.0.0.1:8080:80", "127.0.0.1:8080:80 is not mapped"),
      ("8080:80/tcp+udp", "8080:80/tcp+udp is not mapped"),
      ("8080->10.0.0.2:80/udp", "8080->10.0.0.2:80/udp is not mapped"),
      ("web", "no address is called 'web'"), ("a0000000", "no mapping or reservation has the id a0000000"),
    ] {
      #expect(try Target(target).absence == absence)
    }
    #expect(try Target("8080/tcp+udp").absence(of: [.udp]) == "port udp/8080 is not mapped")
    #expect(try Target("8080:80/tcp+udp").absence(of: [.tcp]) == "8080:80/tcp is not mapped")
  }
}
