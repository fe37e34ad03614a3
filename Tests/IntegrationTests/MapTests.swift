import Testing

/// What `map` prints, and which host port and backend port each form of a specification means.
@Suite struct MapTests {
  typealias Address = Topology.Address

  @Test(arguments: [
    (":80", "80->10.99.0.2:80"), ("8080:80/udp", "8080->10.99.0.2:80/udp"), ("8081:80", "8081->10.99.0.2:80"),
    ("8081:80/tcp", "8081->10.99.0.2:80"), ("127.0.0.1:8082:80", "127.0.0.1:8082->10.99.0.2:80"),
    ("[::1]:8083:80", "[::1]:8083->10.99.0.2:80"), ("192.0.2.1:8084:80", "192.0.2.1:8084->10.99.0.2:80"),
    ("8000-8010:80-90/udp", "8000-8010->10.99.0.2:80-90/udp"), ("8020-8030:80", "8020->10.99.0.2:80"),
    ("0.0.0.0:8085:80", "0.0.0.0:8085->10.99.0.2:80"), ("[::]:8086:80", "[::]:8086->10.99.0.2:80"),
  ])
  func printsOneLine(_ spec: String, _ line: String) throws {
    try withTopology { topology in
      let outcome = try topology.portmap("map", spec, "--to", Address.web)
      #expect(outcome.stdout == line + "\n")
    }
  }

  @Test(arguments: ["80", "0:80", "127.0.0.1::80", "[::1]::80", "127.0.0.1:0:80"])
  func allocatesTheHostPort(_ spec: String) throws {
    try withTopology { topology in
      let mapping = try #require(try topology.portmap.map(spec, "--to", Address.web).first)
      #expect((49153...65535).contains(mapping.hostPort) && mapping.hostPort == mapping.hostPortEnd)
      #expect(mapping.backendPort == 80 && mapping.backendPortEnd == 80)
      #expect(try topology.host.sockets(.tcp, mapping.hostPort).count == 1)
    }
  }

  @Test func allocatesARunOfPorts() throws {
    try withTopology { topology in
      let mapping = try #require(try topology.portmap.map("80-90", "--to", Address.web).first)
      #expect(mapping.hostPortEnd - mapping.hostPort == 10 && mapping.hostPort >= 49153)
      #expect(mapping.backendPort == 80 && mapping.backendPortEnd == 90)
    }
  }

  @Test func allocatesOneNumberForBothProtocols() throws {
    try withTopology { topology in
      let mappings = try topology.portmap.map("53/tcp+udp", "--to", Address.web)
      #expect(Set(mappings.map(\.hostPort)).count == 1 && Set(mappings.map(\.protocol)) == ["tcp", "udp"])
      #expect(Set(mappings.map(\.id)).count == 2)
      let fixed = try topology.portmap("map", "5353:53/tcp+udp", "--to", Address.web)
      #expect(Set(fixed.lines) == ["5353->10.99.0.2:53", "5353->10.99.0.2:53/udp"])
    }
  }

  @Test func quietPrintsTheHostPort() throws {
    try withTopology { topology in
      #expect(try topology.portmap("map", "-q", "8080:80", "--to", Address.web).stdout == "8080\n")
      #expect(
        try topology.portmap("map", "-q", "8000-8010:80-90/udp", "--to", Address.web).stdout == "8000-8010\n"
      )
      let chosen = try topology.portmap("map", "--quiet", "80", "--to", Address.web)
      #expect(Int(chosen.stdout.dropLast()) != nil, "\(chosen)")
    }
  }

  @Test func rangeOfAutomaticChoice() throws {
    try withTopology { topology in
      let chosen = try topology.portmap.map("--range", "50000-50003", "80", "81", "--to", Address.web)
      #expect(chosen.allSatisfy { (50000...50003).contains($0.hostPort) } && chosen.count == 2)
      var portmap = topology.portmap
      portmap.environment = ["PORTMAP_RANGE": "50010-50011", "PORTMAP_TO": Address.other]
      let mapping = try #require(try portmap.map("80").first)
      #expect((50010...50011).contains(mapping.hostPort) && mapping.backendIP == Address.other)
      portmap.environment = ["PORTMAP_RANGE": "", "PORTMAP_TO": Address.other]
      #expect(try #require(try portmap.map("80").first).hostPort >= 49153)
    }
  }

  @Test func printsJSON() throws {
    try withTopology { topology in
      let outcome = try topology.portmap("map", "--json", "8080:80/udp", "--to", Address.web)
      let mapping = try #require(try outcome.json([MappingRecord].self).first)
      #expect(mapping.backendIP == Address.web && mapping.backendPort == 80 && mapping.backendPortEnd == 80)
      #expect(mapping.hostIP == "*" && mapping.hostPort == 8080 && mapping.hostPortEnd == 8080)
      #expect(mapping.nat && mapping.proxy && mapping.protocol == "udp" && mapping.status == "active")
      #expect(mapping.id.wholeMatch(of: /[a-f][0-9a-f]{7}/) != nil)
      let pid = try #require(mapping.pid)
      #expect(try topology.host.processes().contains(pid))
      let keys = outcome.stdout.matches(of: /"(\w+)":/).map { String($0.1) }
      #expect(keys == keys.sorted())
      #expect(try topology.portmap.list().mappings == [mapping])
    }
  }

  @Test func oneProcessForOneCall() throws {
    try withTopology { topology in
      let mappings = try topology.portmap.map(
        "8080:80",
        "8081:81/udp",
        "8000-8005:9000-9005",
        "--to",
        Address.web
      )
      #expect(Set(mappings.map(\.pid)).count == 1 && mappings.count == 3)
      #expect(try topology.host.processes().count == 1)
    }
  }

  @Test func everySpecOrNone() throws {
    try withTopology { topology in
      try topology.host.serve(.tcp, "0.0.0.0", "8082", name: "stranger")
      let before = try topology.host.snapshot()
      let processes = try topology.host.processes()
      try topology.portmap("map", "8080:80", "8081:80/udp", "8082:80", "--to", Address.web, status: 3)
      try topology.host.expectUnchanged(before, processes: processes)
      #expect(try topology.portmap.list().isEmpty)
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty)
    }
  }

  @Test func unwritableResultIsAFailure() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      for command in [
        "map 8080:80 --to 10.99.0.2", "map --json 8080:80 --to 10.99.0.2", "map 8080:80", "alloc 8080",
        "alloc --lend", "alloc --ip", "alloc --netns \(topology.other.name)", "map -n 80 --to 10.99.0.2",
        "check --json", "proxy 8080 10.99.0.2:80", "--version", "map --help",
      ] {
        let outcome = try topology.portmap.shell("exec \"$0\" \(command) > /dev/full", status: 1)
        #expect(outcome.stderr.hasPrefix("portmap: "), "\(outcome)")
        try topology.host.expectUnchanged(before)
        #expect(try topology.portmap.list().isEmpty)
      }
    }
  }

  @Test func aReaderThatIsGoneIsAFailure() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let outcome = try topology.portmap.shell(
        """
        pipe=$PORTMAP_STATE_DIR-pipe
        mkfifo "$pipe"
        : <"$pipe" & exec 3>"$pipe"; wait
        "$0" map 8080:80 --to 10.99.0.2 >&3; echo "status $?"
        """
      )
      #expect(outcome.stdout == "status 1\n", "\(outcome)")
      try topology.host.expectUnchanged(before)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  @Test func saysThatItTurnsForwardingOn() throws {
    try withTopology { topology in
      let first = try topology.portmap("map", "8080:80", "--to", Address.web)
      #expect(first.stderr.contains("ip_forward"), "\(first)")
      #expect(try topology.host.sysctl("net.ipv4.ip_forward") == "1")
      let second = try topology.portmap("map", "8081:80", "--to", Address.web)
      #expect(!second.stderr.contains("ip_forward"), "\(second)")
      let third = try topology.portmap("map", "8082:80", "--to", Address.web6)
      #expect(third.stderr.contains("forwarding"), "\(third)")
      try topology.portmap("unmap", "--all")
      #expect(try topology.host.sysctl("net.ipv4.ip_forward") == "1")
      #expect(try topology.host.sysctl("net.ipv6.conf.all.forwarding") == "1")
    }
  }
}
