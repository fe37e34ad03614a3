import Testing

/// A range is one mapping: one rule, one line, one process, each port to its own.
@Suite struct RangeTests {
  typealias Address = Topology.Address

  @Test(arguments: [("8000-8010:8000-8010", 8000), ("8000-8010:9000-9010", 9000), ("8000-8010:80-90", 80)])
  func everyPortKeepsItsOffset(_ spec: String, _ first: Int) throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "\(first)-\(first + 10)", name: "web")
      try topology.portmap("map", spec + "/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        for offset in [0, 1, 5, 10] {
          let direct = try topology.outside.ask(transport, Address.host, 8000 + offset)
          #expect(direct.port == first + offset && direct.peer == Address.outside, "\(direct)")
          let proxied = try topology.host.ask(transport, "127.0.0.1", 8000 + offset)
          #expect(proxied.port == first + offset, "\(proxied)")
        }
        #expect(try topology.outside.ask(transport, Address.host, 8011).verdict == .refused)
      }
    }
  }

  @Test func oneRuleAndOneProcess() throws {
    try withTopology { topology in
      let outcome = try topology.portmap("map", "8000-8999:8000-8999/udp", "--to", Address.web)
      #expect(outcome.stdout == "8000-8999->10.99.0.2:8000-8999/udp\n")
      #expect(try topology.host.translations().count == 1)
      #expect(try topology.host.processes().count == 1)
      #expect(try topology.portmap.list().mappings.count == 1)
      #expect(try topology.host.sockets(.udp, 8500).count == 1)
      try topology.portmap("unmap", "8000-8999/udp")
      #expect(try topology.host.translations().isEmpty)
      #expect(try topology.host.sockets(.udp, 8500).isEmpty)
    }
  }

  /// A range over several 256-port blocks, between single mappings inside of the same blocks.
  @Test(arguments: [false, true])
  func nextToSingleMappings(rangeFirst: Bool) throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "8100-8600", name: "web")
      try topology.other.serve(.tcp, Address.other, "80", name: "other")
      let range = ["8100-8600:8100-8600", "--to", Address.web]
      let singles = ["8099:80", "8601:80", "8650:80", "8064:80", "--to", Address.other]
      for specs in rangeFirst ? [range, singles] : [singles, range] {
        try topology.portmap.run(["map"] + specs)
      }
      for port in [8100, 8191, 8192, 8300, 8447, 8448, 8600] {
        let answer = try topology.outside.ask(.tcp, Address.host, port)
        #expect(answer.name == "web" && answer.port == port, "\(answer)")
      }
      for port in [8064, 8099, 8601, 8650] {
        #expect(try topology.outside.ask(.tcp, Address.host, port).peer == Address.outside)
      }
      try topology.portmap("unmap", "8100-8600")
      #expect(try topology.outside.ask(.tcp, Address.host, 8300).verdict == .refused)
      #expect(try topology.outside.ask(.tcp, Address.host, 8601).name == "other")
    }
  }

  @Test(arguments: [false, true])
  func besideSingleMappingsOfAnotherAddress(rangeFirst: Bool) throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "8100-8600", name: "web")
      try topology.other.serve(.tcp, Address.other, "80", name: "other")
      let range = ["192.0.2.1:8100-8600:8100-8600", "--to", Address.web]
      let single = ["10.99.0.1:8300:80", "--to", Address.other]
      for specs in rangeFirst ? [range, single] : [single, range] {
        try topology.portmap.run(["map"] + specs)
      }
      #expect(try topology.outside.ask(.tcp, Address.host, 8300).name == "web")
      #expect(try topology.outside.ask(.tcp, Address.bridge, 8300).name == "other")
      #expect(try topology.outside.ask(.tcp, Address.bridge, 8301).verdict == .refused)
    }
  }

  /// The same range for either family and protocol, each to its own backend, and a part of it taken away again.
  @Test func ofBothFamiliesAndProtocols() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "8250-8260", name: "web")
      try topology.web.serve(.udp, Address.web6, "8250-8260", name: "web6")
      try topology.other.serve(.tcp, Address.other6, "8250-8260", name: "other6")
      try topology.other.serve(.udp, Address.other, "8250-8260", name: "other")
      try topology.portmap("map", "0.0.0.0:8250-8260:8250-8260", "--to", Address.web)
      try topology.portmap("map", "[::]:8250-8260:8250-8260/udp", "--to", Address.web6)
      try topology.portmap("map", "[::]:8250-8260:8250-8260", "--to", Address.other6)
      try topology.portmap("map", "0.0.0.0:8250-8260:8250-8260/udp", "--to", Address.other)
      // On both sides of the border between two blocks.
      for port in [8250, 8255, 8256, 8260] {
        #expect(try topology.outside.ask(.tcp, Address.host, port).name == "web")
        #expect(try topology.outside.ask(.udp, Address.host6, port).name == "web6")
        #expect(try topology.outside.ask(.tcp, Address.host6, port).name == "other6")
        #expect(try topology.outside.ask(.udp, Address.host, port).name == "other")
      }
      try topology.portmap("unmap", "[::]:8250-8260")
      #expect(try topology.outside.ask(.tcp, Address.host6, 8256).verdict == .refused)
      #expect(try topology.outside.ask(.tcp, Address.host, 8256).name == "web")
      #expect(try topology.outside.ask(.udp, Address.host6, 8256).peer == Address.outside6)
    }
  }

  @Test func aRunStepsOverStrangers() throws {
    try withTopology { topology in
      try topology.host.serve(.tcp, "0.0.0.0", "50005", name: "stranger")
      let portmap = topology.portmap
      let mapping = try #require(
        try portmap.map("80-89", "--range", "50000-50019", "--to", Address.web).first
      )
      #expect((50006...50010).contains(mapping.hostPort) && mapping.hostPortEnd == mapping.hostPort + 9)
      try portmap("map", "80-89", "--range", "50000-50019", "--to", Address.web, status: 3)
    }
  }

  @Test func toTheOtherFamily() throws {
    try withTopology { topology in
      try topology.web.serve(.udp, Address.web6, "9000-9010", name: "web")
      try topology.portmap("map", "8000-8010:9000-9010/udp", "--to", Address.web6)
      #expect(try topology.outside.ask(.udp, Address.host6, 8007).peer == Address.outside6)
      let answer = try topology.outside.ask(.udp, Address.host, 8007)
      #expect(answer.port == 9007 && answer.peer == Address.bridge6, "\(answer)")
    }
  }
}
