import Testing

/// What `unmap` takes for a target, and what it leaves.
@Suite struct UnmapTests {
  typealias Address = Topology.Address

  @Test func byPort() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80/tcp+udp", "127.0.0.1:8081:80", "8000-8010:80-90/udp", "--to", Address.web)
      try portmap("unmap", "8080")
      #expect(try portmap.list().mappings.map(\.hostPort).sorted() == [8000, 8080, 8081])
      try portmap("unmap", "8080/udp", "8081")
      #expect(try portmap.list().mappings.map(\.hostPort) == [8000])
      try portmap("unmap", "8005/udp", status: 5)
      try portmap("unmap", "8000-8010", status: 5)
      try portmap("unmap", "8000-8010/udp")
      #expect(try portmap.list().isEmpty)
      #expect(try topology.host.processes().isEmpty)
    }
  }

  @Test func byHostAddress() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "192.0.2.1:8080:80", "127.0.0.1:8080:80", "[::1]:8080:80", "--to", Address.web)
      try portmap("unmap", "127.0.0.1:8080")
      #expect(Set(try portmap.list().mappings.map(\.hostIP)) == ["192.0.2.1", "::1"])
      try portmap("unmap", "127.0.0.1:8080", status: 5)
      try portmap("unmap", "[::1]:8080")
      #expect(try portmap.list().mappings.map(\.hostIP) == ["192.0.2.1"])
    }
  }

  @Test func byWholeSpecAndByID() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let mappings = try portmap.map("8080:80/udp", "8081:80", "--to", Address.web)
      try portmap("unmap", "8080:80/udp")
      #expect(try portmap.list().mappings.map(\.hostPort) == [8081])
      try portmap("unmap", mappings[1].id)
      #expect(try portmap.list().isEmpty)
      try portmap("unmap", mappings[1].id, status: 5)
    }
  }

  @Test func whatListPrintsQuietly() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80/tcp+udp", "127.0.0.1:8081:80", "8000-8010:80-90/udp", "--to", Address.web)
      try portmap("alloc", "9000", "9001/udp")
      try portmap("alloc", "--ip", "--name", "db")
      let names = try portmap("list", "-q").lines
      #expect(names.count == 7)
      try portmap.run(["unmap"] + names)
      #expect(try portmap.list().isEmpty)
    }
  }

  @Test func whatMapPrinted() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let lines = try portmap(
        "map",
        "8080:80/udp",
        "127.0.0.1:8081:80",
        "8000-8010:80-90",
        "--to",
        Address.web
      ).lines
      try portmap.run(["unmap"] + lines)
      #expect(try portmap.list().isEmpty)
    }
  }

  @Test func targetsThatAreNowhere() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", Address.web)
      let outcome = try portmap("unmap", "8080/udp", "8080", status: 5)
      #expect(outcome.stderr == "portmap: port udp/8080 is not mapped\n")
      // The others have been released all the same.
      #expect(try portmap.list().isEmpty)
      #expect(try portmap("unmap", "--if-exists", "8080/udp", "nobody", "10.1.2.3").stderr.isEmpty)
      let spec = try portmap("unmap", "8080:80/udp", "8080:80/tcp+udp", status: 5)
      #expect(spec.stderr == "portmap: 8080:80/udp is not mapped; 8080:80/tcp+udp is not mapped\n")
      for target in ["nobody", "10.1.2.3", "a0000000", "8080", "8080->10.99.0.2:80/udp"] {
        let outcome = try portmap("unmap", target, status: 5)
        #expect(outcome.stderr.contains(target), "\(outcome)")
      }
      try portmap("unmap", "--all")
    }
  }

  @Test func byAddressReleasesEverything() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let ip = try portmap("alloc", "--ip", "--name", "db").lines[0]
      try portmap("map", "8080:80/tcp+udp", "--to", "db")
      try portmap("map", "8081:80", "--to", Address.web)
      try portmap("unmap", ip)
      #expect(try portmap.list().addresses.isEmpty)
      #expect(try portmap.list().mappings.map(\.hostPort) == [8081])
      try portmap("alloc", "--ip", "--name", "db")
      try portmap("map", "8080:80", "--to", "db")
      try portmap("unmap", "db")
      #expect(try portmap.list().mappings.map(\.hostPort) == [8081])
      #expect(try portmap.list().addresses.isEmpty)
    }
  }

  @Test func aReservedPortIsLetGo() throws {
    try withHost { portmap, host in
      try portmap("alloc", "8080", "8081", "8080/udp")
      try portmap("unmap", "8080")
      #expect(try host.bind(.tcp, "::", 8080) == nil)
      #expect(try host.bind(.udp, "::", 8080)?.contains("EADDRINUSE") == true)
      #expect(try host.processes().count == 1)
      try portmap("unmap", "8081", "8080/udp")
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func connectionsOfTheMappingEnd() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      try topology.portmap.withoutConnecting("map", "8080:80", "--to", Address.web)
      let client = try topology.host.startAsking(.tcp, "127.0.0.1", 8080, timeout: 10)
      #expect(client.line(timeout: 0.3) == nil)
      try topology.portmap("unmap", "8080")
      let answer = Answer(client.wait(timeout: 3))
      #expect(answer.verdict == .closed, "\(answer)")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).verdict == .refused)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .refused)
    }
  }
}
