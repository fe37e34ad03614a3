import Testing

/// A port that somebody else has: status 3, who has it, and nothing changed.
@Suite struct ConflictTests {
  typealias Address = Topology.Address

  @Test(arguments: Transport.allCases)
  func aStrangerHasIt(_ transport: Transport) throws {
    try withTopology { topology in
      try topology.host.serve(transport, "127.0.0.1", "8080", name: "stranger")
      let spec = "8080\(transport.suffix)"
      for arguments in [["map", "8080:80\(transport.suffix)", "--to", Address.web], ["alloc", spec]] {
        let outcome = try topology.portmap.run(arguments, status: 3)
        #expect(outcome.stdout.isEmpty && outcome.stderr.contains("address already in use"), "\(outcome)")
        #expect(outcome.stderr.contains(spec), "\(outcome)")
      }
      // The stranger's address only: the same port on another one is free.
      #expect(try topology.portmap("alloc", "192.0.2.1:8080\(transport.suffix)").stdout == "8080\n")
    }
  }

  @Test func theMessageOfTheContract() throws {
    try withHost { portmap, host in
      try host.serve(.udp, "0.0.0.0", "8080", name: "stranger")
      let outcome = try portmap("map", "8080:80/udp", "--to", "10.99.0.2", "--proxy-only", status: 3)
      #expect(
        outcome.stderr.hasPrefix("portmap: cannot map 8080/udp: address already in use\n"),
        "\(outcome)"
      )
    }
  }

  @Test func portmapHasIt() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let id = try #require(try portmap.map("8080:80", "--to", Address.web).first).id
      for arguments in [
        ["map", "8080:81", "--to", Address.other], ["alloc", "8080"], ["alloc", "127.0.0.1:8080"],
      ] {
        let outcome = try portmap.run(arguments, status: 3)
        #expect(outcome.stderr.contains(Address.web) || outcome.stderr.contains(id), "\(outcome)")
      }
      let reserved = try #require(try portmap("alloc", "--json", "8081").json([ReservationRecord].self).first)
      let outcome = try portmap("alloc", "8081", status: 3)
      #expect(outcome.stderr.contains("reserved") || outcome.stderr.contains(reserved.id), "\(outcome)")
      let list = try portmap.list()
      #expect(list.mappings.count == 1 && list.reservations.count == 1)
    }
  }

  @Test func aRangeThatOverlaps() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8005:80", "--to", Address.web)
      try portmap("map", "8000-8010:8000-8010", "--to", Address.web, status: 3)
      try portmap("map", "8000-8010:8000-8010/udp", "--to", Address.web)
      try portmap("map", "8010:80/udp", "--to", Address.web, status: 3)
      try portmap("map", "8011:80/udp", "--to", Address.web)
      // One free port of the range is something else than the whole range.
      #expect(try portmap("map", "-q", "8010-8012:80/udp", "--to", Address.web).stdout == "8012\n")
    }
  }

  @Test func addressesThatDoNotOverlap() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "192.0.2.1:8080:80", "--to", Address.web)
      try portmap(
        "map",
        "10.99.0.1:8080:80",
        "[2001:db8:1::1]:8080:80",
        "127.0.0.1:8080:80",
        "--to",
        Address.other
      )
      try portmap("map", "8080:80", "--to", Address.web, status: 3)
      try portmap("map", "0.0.0.0:8080:80", "--to", Address.web, status: 3)
      try portmap("map", "[::]:8080:80", "--to", Address.web, status: 3)
      try portmap("unmap", "[2001:db8:1::1]:8080")
      try portmap("map", "[::]:8080:80", "--to", Address.web)
    }
  }

  @Test(arguments: ["203.0.113.9:8080:80", "[2001:db8:ffff::1]:8080:80"])
  func anAddressThatIsNotTheHosts(_ spec: String) throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let outcome = try topology.portmap("map", spec, "--to", Address.web, status: nil)
      #expect([1, 3].contains(outcome.status), "\(outcome)")
      #expect(outcome.stderr.contains(spec.contains("[") ? "2001:db8:ffff::1" : "203.0.113.9"), "\(outcome)")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func backendsThatCannotBe() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      for arguments in [
        ["8080:80", "--to", Address.host], ["8080:80", "--to", Address.bridge],
        ["8080:80", "--to", "nobody"], ["8080:80", "--to", "fe80::1"], ["8080:80", "--to", "10.99.0.255"],
        ["8080:80", "--to", "10.99.0.0", "--proxy-only"],
        ["127.0.0.1:8080:8080", "--to", "127.0.0.1"], ["8080:8080", "--to", "127.0.0.1"],
      ] {
        let outcome = try topology.portmap.run(["map"] + arguments, status: nil)
        #expect(![0, 125].contains(outcome.status) && outcome.stderr.contains(arguments[2]), "\(outcome)")
        try topology.host.expectUnchanged(before)
      }
    }
  }
}
