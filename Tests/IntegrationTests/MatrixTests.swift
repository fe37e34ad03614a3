import Testing

/// Everywhere that a user may try a mapped port from, and which source address the backend sees.
@Suite(.serialized) struct MatrixTests {
  typealias Address = Topology.Address

  /// One way to the mapped port.
  struct Way: CustomStringConvertible {
    let description: String
    let client: KeyPath<Topology, Namespace> & Sendable
    let target: String
    /// What the backend may see, when it is of the client's family; any of the host's own for a local client, since
    /// the kernel chooses that one.
    let sources: Set<String>

    init(
      _ name: String,
      _ client: KeyPath<Topology, Namespace> & Sendable,
      _ target: String,
      _ sources: Set<String>
    ) {
      description = "\(name) to \(target)"
      self.client = client
      self.target = target
      self.sources = sources
    }
  }

  private static let own: Set = [Address.host, Address.bridge]
  private static let own6: Set = [Address.host6, Address.bridge6]

  private static let ways = [
    Way("outside", \.outside, Address.host, [Address.outside]),
    Way("host", \.host, Address.host, own),
    Way("host", \.host, Address.bridge, own),
    Way("host", \.host, "127.0.0.1", [Address.bridge]),
    Way("other guest", \.other, Address.bridge, [Address.bridge]),
    Way("other guest", \.other, Address.host, [Address.bridge]),
    Way("the guest itself", \.web, Address.bridge, [Address.bridge]),
    Way("the guest itself", \.web, Address.host, [Address.bridge]),
  ]

  private static let ways6 = [
    Way("outside", \.outside, Address.host6, [Address.outside6]),
    Way("host", \.host, Address.host6, own6),
    Way("host", \.host, Address.bridge6, own6),
    Way("host", \.host, "::1", [Address.bridge6]),
    Way("other guest", \.other, Address.bridge6, [Address.bridge6]),
    Way("other guest", \.other, Address.host6, [Address.bridge6]),
    Way("the guest itself", \.web, Address.bridge6, [Address.bridge6]),
    Way("the guest itself", \.web, Address.host6, [Address.bridge6]),
  ]

  @Test(arguments: [false, true], [true, false])
  func everyWay(bridgeNetfilter: Bool, connects: Bool) throws {
    try withTopology { topology in
      let portmap = connects ? topology.portmap : topology.portmap.withoutConnecting
      try topology.setBridgeNetfilter(bridgeNetfilter)
      // Whoever plugs in a guest has to do this where bridged packets pass through iptables.
      if bridgeNetfilter {
        try topology.host.ip("link", "set", "web", "type", "bridge_slave", "hairpin", "on")
      }
      for address in [Address.web, Address.web6] { try topology.web.serveBoth(address, "80", name: "web") }
      try portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try portmap("map", "8086:80/tcp+udp", "--to", Address.web6)
      for transport in Transport.allCases {
        for way in Self.ways {
          try expect(way, transport, 8080, way.sources, topology)
          // The other family's backend is reached through the proxy.
          try expect(way, transport, 8086, [Address.bridge6], topology)
        }
        for way in Self.ways6 {
          try expect(way, transport, 8086, way.sources, topology)
          try expect(way, transport, 8080, [Address.bridge], topology)
        }
      }
    }
  }

  private func expect(
    _ way: Way,
    _ transport: Transport,
    _ port: Int,
    _ sources: Set<String>,
    _ topology: Topology
  ) throws {
    let answer = try topology[keyPath: way.client].ask(transport, way.target, port)
    #expect(answer.name == "web", "\(way), \(transport) \(port): \(answer)")
    #expect(sources.contains(answer.peer), "\(way), \(transport) \(port): \(answer)")
    #expect(answer.port == 80)
  }

  @Test func linkLocalClients() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web6, "80", name: "web")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web6)
      let address = try topology.host.linkLocalAddress("eth0")
      let client = try topology.outside.linkLocalAddress("eth0")
      for transport in Transport.allCases {
        let answer = try topology.outside.ask(transport, address + "%eth0", 8080, "--bind", client + "%eth0")
        #expect(answer.name == "web" && answer.peer == Address.bridge6, "\(answer)")
      }
    }
  }

  /// A guest that portmap itself plugged in needs nothing more, whether bridged packets pass through iptables or not.
  @Test(arguments: [false, true])
  func pluggedGuestReachesItself(bridgeNetfilter: Bool) throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      try topology.setBridgeNetfilter(bridgeNetfilter)
      let ip = try topology.portmap("alloc", "--netns", guest.name).lines[0]
      try guest.serveBoth(ip, "80", name: "guest")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", guest.name)
      let gateway = try topology.portmap.list().addresses[0].gateway
      for transport in Transport.allCases {
        #expect(try guest.ask(transport, gateway, 8080).peer == gateway)
        #expect(try guest.ask(transport, Address.host, 8080).peer == gateway)
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.web.ask(transport, Address.host, 8080).name == "guest")
      }
    }
  }

  @Test func aBackendBesideTheClient() throws {
    try withTopology { topology in
      for address in [Address.outside, Address.outside6] {
        try topology.outside.serveBoth(address, "80", name: "outside")
      }
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.outside)
      try topology.portmap("map", "8086:80/tcp+udp", "--to", Address.outside6)
      for transport in Transport.allCases {
        // From its own network, through the host and back.
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.host)
        #expect(try topology.outside.ask(transport, Address.host6, 8086).peer == Address.host6)
        #expect(try topology.web.ask(transport, Address.bridge, 8080).peer == Address.web)
        #expect(try topology.web.ask(transport, Address.bridge6, 8086).peer == Address.web6)
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).peer == Address.host)
        #expect(try topology.host.ask(transport, Address.host, 8080).name == "outside")
      }
    }
  }

  @Test func strictReversePathFilter() throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.host.setSysctl(
        "net.ipv4.conf.all.rp_filter=1",
        "net.ipv4.conf.eth0.rp_filter=1",
        "net.ipv4.conf.br0.rp_filter=1",
        "net.ipv4.conf.lo.rp_filter=1"
      )
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        for way in Self.ways { try expect(way, transport, 8080, way.sources, topology) }
      }
    }
  }

  @Test func fromALoopbackAddress() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        let answer = try topology.host.ask(transport, Address.host, 8080, "--bind", "127.0.0.1")
        #expect(answer.name == "web", "\(answer)")
      }
    }
  }

  @Test func largeDatagramsThroughTheRules() throws {
    try withTopology { topology in
      try topology.web.serve(.udp, Address.web, "80", name: "web", mode: "echo")
      try topology.portmap("map", "8080:80/udp", "--to", Address.web)
      for size in [0, 1, 9000, 65507] {
        #expect(
          try topology.outside.ask(.udp, Address.host, 8080, "--size", "\(size)").text == "echoed \(size)"
        )
      }
    }
  }

  @Test func otherPortsAreLeftAlone() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.host.serve(.tcp, "::", "8081", name: "host")
      try topology.outside.serve(.tcp, Address.outside, "8080", name: "outside")
      try topology.other.serve(.tcp, Address.other, "8080", name: "other")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).name == "host")
      // The same port elsewhere: through the host, from the host, and between guests.
      #expect(try topology.web.ask(.tcp, Address.outside, 8080).name == "outside")
      #expect(try topology.host.ask(.tcp, Address.outside, 8080).name == "outside")
      let answer = try topology.web.ask(.tcp, Address.other, 8080)
      #expect(answer.name == "other" && answer.peer == Address.web, "\(answer)")
      #expect(try topology.outside.ask(.udp, Address.host, 8080).verdict == .refused)
    }
  }
}
