import Testing

/// portmap's own bridge: its network, the namespaces plugged into it, its removal.
@Suite struct BridgeTests {
  typealias Address = Topology.Address

  @Test(arguments: [
    (["172.16.42.0/24"], "10.0.42"), (["172.16.0.0/12"], "10.0.42"), (["172.16.42.128/25"], "10.0.42"),
    (["172.16.42.7/32", "10.0.0.0/8"], "192.168.42"), (["172.16.43.0/24", "172.16.41.0/24"], "172.16.42"),
  ])
  func passesOverRoutesThatOverlap(_ routes: [String], _ network: String) throws {
    try withHost { portmap, host in
      try host.ip(
        batch: [
          "link add eth0 type bridge", "addr add 192.0.2.1/24 dev eth0", "link set eth0 up",
          // None of these is in the way of any range.
          "route add default via 192.0.2.254", "route add unreachable default metric 4278198272",
          "route add blackhole 203.0.113.0/24", "route add 2001:db8::/32 dev eth0",
        ] + routes.map { "route add \($0) via 192.0.2.254" }
      )
      #expect(try portmap("alloc", "--ip").stdout == "\(network).2\n")
      #expect(try portmap.list().addresses[0].gateway == "\(network).1")
    }
  }

  @Test func findsFurtherRanges() throws {
    try withHost { portmap, host in
      try host.ip(batch: [
        "link add eth0 type bridge", "addr add 192.0.2.1/24 dev eth0", "link set eth0 up",
        "route add 172.16.42.0/24 dev eth0", "route add 10.0.42.0/24 dev eth0",
        "route add 192.168.42.0/24 dev eth0",
      ])
      let ip = try portmap("alloc", "--ip").lines[0]
      #expect(!["172.16.42.", "10.0.42.", "192.168.42."].contains { ip.hasPrefix($0) }, "\(ip)")
      #expect(["172.", "10.", "192.168."].contains { ip.hasPrefix($0) }, "\(ip)")
    }
  }

  @Test func plugsANamespaceIn() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let guestLinks = try guest.links()
      let before = try topology.host.snapshot()
      let portmap = topology.portmap
      #expect(try portmap("alloc", "--netns", guest.name).stdout == "172.16.42.2\n")
      #expect(try guest.ip("-4", "addr").stdout.contains("172.16.42.2/24"))
      #expect(try guest.ip("route").stdout.contains("default via 172.16.42.1"))
      try guest.serveBoth("172.16.42.2", "80", name: "guest")
      try portmap("map", "8080:80/tcp+udp", "--to", guest.name)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "guest")
      }
      let again = try portmap("alloc", "--netns", guest.name, status: nil)
      #expect(again.status != 0 && again.stderr.contains(guest.name), "\(again)")
      try portmap("unmap", guest.name)
      #expect(try guest.links() == guestLinks)
      #expect(try portmap.list().isEmpty)
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func theHostReachesItsOwnBridgeAddress() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let ip = try topology.portmap("alloc", "--netns", guest.name).lines[0]
      let gateway = try topology.portmap.list().addresses[0].gateway
      try topology.host.serveBoth(gateway, "53", name: "host")
      try topology.web.serveBoth(Address.web6, "80", name: "web")
      try guest.serveBoth(ip, "80", name: "guest")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", guest.name)
      try topology.portmap("map", "8086:80/tcp+udp", "--to", Address.web6)
      for transport in Transport.allCases {
        // A name server of the bridge, say, which guests and the host itself ask.
        #expect(try topology.host.ask(transport, gateway, 53).name == "host")
        #expect(try guest.ask(transport, gateway, 53).peer == ip)
        #expect(try topology.host.ask(transport, gateway, 8080).name == "guest")
        #expect(try topology.host.ask(transport, gateway, 8086).name == "web")
        #expect(try guest.ask(transport, gateway, 8086).name == "web")
      }
    }
  }

  @Test func whatIsAlreadyGone() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = topology.portmap
      let inner = Cleanup()
      let guest = try Namespace("p", inner)
      try portmap("alloc", "--netns", guest.name)
      try portmap("map", "8080:80", "--to", guest.name)
      inner.run()
      try portmap("unmap", guest.name)
      #expect(try portmap.list().isEmpty)
      // The bridge and the rules, removed by somebody else.
      try portmap("map", "8080:80")
      try topology.host.ip("link", "del", "portmap0")
      for tool in ["iptables", "ip6tables"] {
        for table in ["nat", "filter", "raw"] {
          try topology.host.exec(tool, "-t", table, "-F")
          try topology.host.exec(tool, "-t", table, "-X")
        }
      }
      try portmap("unmap", "--all")
      #expect(try portmap.list().isEmpty)
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func guestsReachEachOther() throws {
    try withHost { portmap, _ in
      let cleanup = Cleanup()
      defer { cleanup.run() }
      let guests = [try Namespace("p", cleanup), try Namespace("q", cleanup)]
      let addresses = try guests.map { try portmap("alloc", "--netns", $0.name).lines[0] }
      try guests[0].serve(.tcp, addresses[0], "80", name: "guest")
      #expect(try guests[1].ask(.tcp, addresses[0], 80).peer == addresses[1])
    }
  }

  @Test func aNamespaceThatDoesNotExist() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      let outcome = try portmap("alloc", "--netns", "nowhere", status: nil)
      #expect(![0, 2].contains(outcome.status) && outcome.stderr.contains("nowhere"), "\(outcome)")
      try host.expectUnchanged(before)
      #expect(try portmap.list().isEmpty)
    }
  }

  @Test func theNamespaceItself() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      let outcome = try portmap("alloc", "--netns", host.name, status: 1)
      #expect(outcome.stderr.contains(host.name), "\(outcome)")
      try host.expectUnchanged(before)
      #expect(try portmap.list().isEmpty)
    }
  }

  @Test func onABridgeThatIsNotPortmaps() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let before = try topology.host.snapshot()
      let ip = try topology.portmap("alloc", "--netns", guest.name, "--bridge", "br0").lines[0]
      #expect(ip.hasPrefix("10.99.0."))
      try guest.serve(.tcp, ip, "80", name: "guest")
      #expect(try topology.host.ask(.tcp, ip, 80).peer == Address.bridge)
      #expect(try topology.host.rules().isEmpty)
      try topology.portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  /// A guest that sends under an address that is not of the bridge's network reaches nothing but the bridge.
  @Test(arguments: [true, false])
  func forgedSourcesDoNotLeave(bridgeNetfilter: Bool) throws {
    try withServers { topology in
      try topology.setBridgeNetfilter(bridgeNetfilter)
      try topology.outside.serveBoth(Address.outside6, "9000", name: "outside")
      let forger = try Namespace("f", topology.cleanup)
      let ip = try topology.portmap("alloc", "--netns", forger.name).lines[0]
      let guest = try topology.mappedGuest()
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try topology.portmap("map", "8086:80/tcp+udp", "--to", Address.web6)
      let (router, own) = (
        try topology.host.linkLocalAddress("portmap0"), try forger.linkLocalAddress("eth0")
      )
      let (source, source6) = ("203.0.113.9", "2001:db8:9::9")
      try forger.ip(batch: [
        "addr add \(source)/32 dev lo", "addr add \(source6)/128 dev lo",
        "route add ::/0 via \(router) dev eth0",
      ])
      // Whoever is asked has a way to answer.
      try topology.host.ip(batch: [
        "route add \(source)/32 via \(ip) dev portmap0", "route add \(source6)/128 via \(own) dev portmap0",
      ])
      try topology.host.setSysctl("net.ipv6.conf.all.forwarding=1")
      for transport in Transport.allCases {
        for (address, port) in [
          (Address.outside, 9000), (Address.web, 80), (Address.host, 7000), (Address.host, 8080),
          (Address.host, 8090), (Address.host, 8086),
        ] {
          let forged = try forger.ask(transport, address, port, timeout: 0.3, "--bind", source)
          #expect(forged.verdict == .silent, "\(address) \(port): \(forged)")
        }
        for (address, port) in [
          (Address.outside6, 9000), (Address.web6, 80), (Address.host6, 7000), (Address.host6, 8086),
          (Address.host6, 8080), (router + "%eth0", 7000),
        ] {
          let forged = try forger.ask(transport, address, port, timeout: 0.3, "--bind", source6)
          #expect(forged.verdict == .silent, "\(address) \(port): \(forged)")
        }
        // Under its own addresses it reaches all that it may.
        #expect(try forger.ask(transport, Address.outside, 9000).peer == Address.host)
        #expect(try forger.ask(transport, Address.host, 8080).name == "web")
        #expect(try forger.ask(transport, Address.host, 8090).name == "guest")
        #expect(try forger.ask(transport, router + "%eth0", 7000).name == "host")
        #expect(try forger.ask(transport, router + "%eth0", 8080).name == "web")
      }
      try topology.expectMapped(guest)
    }
  }

  /// What guests say to each other under addresses of their own does not leave the bridge, and nobody's business it is;
  /// and a guest without an address can ask the host for one.
  @Test(arguments: [true, false])
  func trafficOnTheBridge(bridgeNetfilter: Bool) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(bridgeNetfilter)
      let guests = [try Namespace("p", topology.cleanup), try Namespace("q", topology.cleanup)]
      for (number, guest) in guests.enumerated() {
        try topology.portmap("alloc", "--netns", guest.name)
        try guest.ip(batch: [
          "addr add 10.55.0.\(number + 1)/24 dev eth0", "addr add fd00:55::\(number + 1)/64 dev eth0 nodad",
        ])
      }
      try guests[0].serveBoth("10.55.0.1", "80", name: "guest")
      try guests[0].serveBoth("fd00:55::1", "80", name: "guest")
      for transport in Transport.allCases {
        #expect(try guests[1].ask(transport, "10.55.0.1", 80).peer == "10.55.0.2")
        #expect(try guests[1].ask(transport, "fd00:55::1", 80).peer == "fd00:55::2")
      }
      let folder = topology.folder
      let configuration = [
        "interface portmap0", "start 172.16.42.100", "end 172.16.42.100", "lease_file \(folder)/leases",
        "pidfile \(folder)/pid",
      ].joined(separator: "\n")
      let start =
        "cd \"$0\" && touch leases && echo \"$1\" > udhcpd.conf && exec busybox udhcpd -f udhcpd.conf"
      let server = try topology.host.start(["sh", "-c", start, folder, configuration])
      try guests[1].ip("addr", "flush", "dev", "eth0")
      let client = try guests[1].exec(
        ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", "/bin/true"],
        status: nil
      )
      #expect(client.status == 0 && (client.stdout + client.stderr).contains("172.16.42.100"), "\(client)")
      server.kill()
    }
  }
}
