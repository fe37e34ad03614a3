import Testing

/// Mappings for one host address: there and nowhere else.
@Suite struct HostAddressTests {
  typealias Address = Topology.Address

  @Test func thereAndNowhereElse() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.other.serveBoth(Address.other, "80", name: "other")
      try topology.portmap("map", "192.0.2.1:8080:80/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        let answer = try topology.outside.ask(transport, Address.host, 8080)
        #expect(answer.name == "web" && answer.peer == Address.outside, "\(answer)")
        #expect(try topology.host.ask(transport, Address.host, 8080).name == "web")
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).verdict == .refused)
        #expect(try topology.other.ask(transport, Address.bridge, 8080).verdict == .refused)
        #expect(try topology.outside.ask(transport, Address.host6, 8080).verdict == .refused)
      }
      // The same port on another address, to another backend.
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.other, "--host-ip", Address.bridge)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).name == "web")
        #expect(try topology.web.ask(transport, Address.bridge, 8080).name == "other")
      }
    }
  }

  @Test func severalAddressesAreMappingsOfTheirOwn() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let mappings = try topology.portmap.map(
        "80",
        "--host-ip",
        Address.host,
        "--host-ip",
        "127.0.0.1",
        "--host-ip",
        Address.host6,
        "--to",
        Address.web
      )
      #expect(mappings.map(\.hostIP) == [Address.host, "127.0.0.1", Address.host6])
      #expect(Set(mappings.map(\.hostPort)).count == 1 && Set(mappings.map(\.id)).count == 3)
      let port = mappings[0].hostPort
      #expect(try topology.outside.ask(.tcp, Address.host, port).peer == Address.outside)
      #expect(try topology.outside.ask(.tcp, Address.host6, port).peer == Address.bridge)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", port).name == "web")
      #expect(try topology.web.ask(.tcp, Address.bridge, port).verdict == .refused)
    }
  }

  @Test func addressesThatComeLater() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try topology.host.ip("addr", "add", "192.0.2.50/24", "dev", "eth0")
      try topology.host.ip("addr", "add", "2001:db8:1::50/64", "dev", "eth0", "nodad")
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, "192.0.2.50", 8080).peer == Address.outside)
        #expect(try topology.outside.ask(transport, "2001:db8:1::50", 8080).name == "web")
      }
    }
  }

  @Test func everyAddressOfOneFamily() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.portmap("map", "0.0.0.0:8080:80", "[::]:8081:80", "--to", Address.web)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try topology.outside.ask(.tcp, Address.host6, 8080).verdict == .refused)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try topology.host.ask(.tcp, "::1", 8080).verdict == .refused)
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).verdict == .refused)
      #expect(try topology.outside.ask(.tcp, Address.host6, 8081).peer == Address.bridge)
      #expect(try topology.host.ask(.tcp, "::1", 8081).name == "web")
    }
  }

  @Test func loopbackIsServedByTheProxyAlone() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      let before = try topology.host.snapshot()
      let mappings = try topology.portmap.map(
        "127.0.0.1:8080:80/tcp+udp",
        "[::1]:8080:80/tcp+udp",
        "127.0.0.5:8081:80",
        "--to",
        Address.web
      )
      #expect(mappings.allSatisfy { $0.proxy && !$0.nat })
      #expect(try topology.host.snapshot() == before)
      for transport in Transport.allCases {
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).peer == Address.bridge)
        #expect(try topology.host.ask(transport, "::1", 8080).peer == Address.bridge)
        #expect(try topology.outside.ask(transport, Address.host, 8080).verdict == .refused)
      }
      #expect(try topology.host.sysctl("net.ipv4.conf.all.route_localnet") == "0")
    }
  }

  @Test func neighboursCannotReachLoopback() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.host.serve(.tcp, "127.0.0.5", "8081", name: "careless")
      try topology.host.setSysctl("net.ipv4.conf.all.route_localnet=1")
      try topology.outside.setSysctl("net.ipv4.conf.all.route_localnet=1")
      try topology.outside.ip("route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
      try topology.outside.ip("route", "add", "127.0.0.5/32", "via", Address.host)
      try topology.portmap("map", "127.0.0.5:8080:80/tcp+udp", "--to", Address.web)
      // A server that only binds to loopback is open to the neighbour now; the mapping is not.
      #expect(try topology.outside.ask(.tcp, "127.0.0.5", 8081).name == "careless")
      for transport in Transport.allCases {
        let answer = try topology.outside.ask(transport, "127.0.0.5", 8080, timeout: 0.5)
        #expect(answer.isUnanswered, "\(answer)")
      }
      #expect(try topology.host.ask(.tcp, "127.0.0.5", 8080).name == "web")
      #expect(try topology.host.sysctl("net.ipv4.conf.all.route_localnet") == "1")
    }
  }
}
