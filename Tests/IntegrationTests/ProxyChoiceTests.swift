import Testing

/// `--proxy-only`, `--no-proxy`, backends on loopback, and `--masquerade`.
@Suite struct ProxyChoiceTests {
  typealias Address = Topology.Address

  @Test func proxyOnlyTouchesNoRule() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      let before = try topology.host.snapshot()
      let mappings = try topology.portmap.map("8080:80/tcp+udp", "--proxy-only", "--to", Address.web)
      #expect(mappings.allSatisfy { $0.proxy && !$0.nat })
      #expect(try topology.host.snapshot() == before)
      #expect(try topology.host.sysctl("net.ipv4.ip_forward") == "0")
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.bridge)
        #expect(try topology.outside.ask(transport, Address.host6, 8080).peer == Address.bridge)
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).peer == Address.bridge)
        #expect(try topology.other.ask(transport, Address.host, 8080).peer == Address.bridge)
        #expect(try topology.web.ask(transport, Address.bridge, 8080).peer == Address.bridge)
      }
    }
  }

  @Test func noProxyAnswersOnlyWhereRulesDo() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      let mappings = try topology.portmap.map("8080:80/tcp+udp", "--no-proxy", "--to", Address.web)
      #expect(mappings.allSatisfy { !$0.proxy && $0.nat })
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.host.ask(transport, Address.host, 8080).name == "web")
        for (client, address) in [(topology.host, "127.0.0.1"), (topology.outside, Address.host6)] {
          let answer = try client.ask(transport, address, 8080, timeout: 0.3)
          #expect(answer.isUnanswered, "\(answer)")
        }
        // Reserved all the same.
        #expect(try topology.host.bind(transport, "::", 8080)?.contains("EADDRINUSE") == true)
      }
    }
  }

  @Test func backendsOnLoopback() throws {
    try withTopology { topology in
      try topology.host.serveBoth("127.0.0.1", "80", name: "local")
      try topology.host.serveBoth("::1", "81", name: "local6")
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80/tcp+udp", "--to", "127.0.0.1")
      let mappings = try topology.portmap.map("8081:81/tcp+udp", "--to", "::1")
      #expect(mappings.allSatisfy { $0.proxy && !$0.nat })
      #expect(try topology.host.snapshot() == before)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == "127.0.0.1")
        #expect(try topology.outside.ask(transport, Address.host, 8081).peer == "::1")
        #expect(try topology.outside.ask(transport, Address.host6, 8080).name == "local")
        #expect(try topology.host.ask(transport, "::1", 8081).name == "local6")
      }
    }
  }

  @Test func aPortThatWouldBeItsOwnBackendIsPassedOver() throws {
    try withHost { portmap, _ in
      for (spec, shown) in [
        ("49153", "49154->127.0.0.1:49153"), ("8000-8010:8000", "8001->127.0.0.1:8000"),
        ("127.0.0.2::49155", "127.0.0.2:49155->127.0.0.1:49155"),
      ] {
        #expect(try portmap("map", spec, "--to", "127.0.0.1").lines == [shown])
      }
      try portmap("map", "8080:8080", "--to", "127.0.0.1", status: 2)
    }
  }

  @Test func masqueradeIsOfThisMappingAlone() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      // A backend whose replies would go elsewhere.
      try topology.portmap("map", "8080:80/tcp+udp", "--masquerade", "--to", Address.web)
      try topology.portmap("map", "8081:80/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.bridge)
        #expect(try topology.outside.ask(transport, Address.host, 8081).peer == Address.outside)
      }
      try topology.web.ip("route", "del", "default")
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).name == "web")
      }
      try topology.portmap("unmap", "8080", "8080/udp")
      try topology.web.ip("route", "add", "default", "via", Address.bridge)
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).peer == Address.outside)
    }
  }

  /// In IPv6, for a range, and for one of the host's addresses.
  @Test func masqueradeOfARange() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web6, "80-85", name: "web")
      try topology.portmap(
        "map",
        "[2001:db8:1::1]:8250-8255:80-85/tcp+udp",
        "--masquerade",
        "--to",
        Address.web6
      )
      try topology.portmap("map", "[2001:db8:1::1]:8256:80/tcp+udp", "--to", Address.web6)
      try topology.portmap("map", "[fd00:99::1]:8255:80/tcp+udp", "--to", Address.web6)
      for transport in Transport.allCases {
        for port in [8250, 8255] {
          let answer = try topology.outside.ask(transport, Address.host6, port)
          #expect(answer.peer == Address.bridge6 && answer.port == port - 8170, "\(answer)")
        }
        #expect(try topology.outside.ask(transport, Address.host6, 8256).peer == Address.outside6)
        #expect(try topology.outside.ask(transport, Address.bridge6, 8255).peer == Address.outside6)
      }
    }
  }

  @Test func aBackendThatIsNotThereYet() throws {
    try withTopology { topology in
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).isUnanswered)
      #expect(try topology.host.ask(.udp, "127.0.0.1", 8080, timeout: 0.3).isUnanswered)
      try topology.web.serveBoth(Address.web, "80", name: "web")
      for transport in Transport.allCases {
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
        #expect(try topology.outside.ask(transport, Address.host, 8080).name == "web")
      }
    }
  }
}
