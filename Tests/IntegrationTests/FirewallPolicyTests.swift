import Testing

/// Firewalls that say no to everything that they do not know.
@Suite struct FirewallPolicyTests {
  typealias Address = Topology.Address

  /// What every firewall of this kind lets through: loopback, replies, and what IPv6 cannot live without.
  private func closeFirewall(of host: Namespace) throws {
    for tool in ["iptables", "ip6tables"] {
      try host.exec(tool, "-P", "INPUT", "DROP")
      try host.exec(tool, "-P", "FORWARD", "DROP")
      try host.exec(tool, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
      try host.exec(
        tool,
        "-A",
        "INPUT",
        "-m",
        "conntrack",
        "--ctstate",
        "ESTABLISHED,RELATED",
        "-j",
        "ACCEPT"
      )
    }
    try host.exec("ip6tables", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
  }

  @Test func mappedPortsWorkAndOthersStayShut() throws {
    try withServers { topology in
      try closeFirewall(of: topology.host)
      let before = try topology.host.snapshot()
      try topology.mapWeb()
      try topology.expectForwarded()
      try topology.expectProxied()
      try topology.expectShut()
      try topology.unmapWeb()
      #expect(try topology.host.snapshot() == before)
    }
  }

  /// The real one, with a copy of the machine's configuration that nobody else sees.
  @Test(arguments: [true, false])
  func ufwEnabled(first: Bool) throws {
    try withServers { topology in
      let script = """
        set -e
        mount -t tmpfs tmpfs /mnt
        cp -a /etc/ufw /mnt/ufw && mount --bind /mnt/ufw /etc/ufw
        cp -a /etc/default/ufw /mnt/default && mount --bind /mnt/default /etc/default/ufw
        ufw --force enable
        ufw status
        """
      func enable() throws {
        let ufw = try topology.host.exec("unshare", "--mount", "sh", "-c", script)
        #expect(ufw.stdout.contains("Status: active"), "\(ufw)")
      }
      if first { try enable() }
      let before = try topology.host.snapshot()
      try topology.mapWeb()
      let guest = try topology.mappedGuest()
      if !first { try enable() }
      try topology.expectForwarded()
      try topology.expectProxied()
      try topology.expectMapped(guest)
      try topology.expectReachesOut(guest)
      try topology.expectShut()
      try topology.portmap("unmap", "--all")
      if first { #expect(try topology.host.snapshot() == before) }
      #expect(try !topology.host.rules().contains { $0.contains("PORTMAP") })
    }
  }

  @Test func policiesWithoutAnyException() throws {
    try withServers { topology in
      for tool in ["iptables", "ip6tables"] {
        for chain in ["INPUT", "FORWARD"] { try topology.host.exec(tool, "-P", chain, "DROP") }
        try topology.host.exec(tool, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
      }
      // Without neighbour discovery there is no IPv6 at all.
      try topology.host.exec("ip6tables", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
      try topology.mapWeb()
      try topology.expectForwarded()
      try topology.expectProxied()
    }
  }

  @Test func proxyOnlyPortsAreTheUsersOwnBusiness() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try closeFirewall(of: topology.host)
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      #expect(try topology.host.snapshot() == before)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
    }
  }

  @Test func portmapsBridgeReachesOutAndIsShutToTheOutside() throws {
    try withServers { topology in
      try closeFirewall(of: topology.host)
      let guest = try topology.mappedGuest()
      try topology.expectMapped(guest)
      try topology.expectReachesOut(guest)
      try topology.portmap("unmap", "8090", "8090/udp")
      // Mapped or not: only through a mapping.
      try topology.expectShut([(guest.ip, 80)])
      try topology.expectReachesOut(guest)
    }
  }

  @Test func guestsOfAnotherBridgeAreOutside() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let ip = try topology.portmap("alloc", "--netns", guest.name).lines[0]
      try guest.serve(.tcp, ip, "80", name: "guest")
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      #expect(try topology.web.ask(.tcp, ip, 80, timeout: 0.3).isUnanswered)
      #expect(try guest.ask(.tcp, Address.web, 80).name == "web")
      try topology.portmap("map", "8080:80", "--to", ip)
      #expect(try topology.web.ask(.tcp, ip, 80, timeout: 0.3).isUnanswered)
      #expect(try topology.web.ask(.tcp, Address.bridge, 8080).peer == Address.web)
    }
  }

  @Test func aGuestCannotBeReachedDirectlyUnderAnOpenPolicy() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let ip = try topology.portmap("alloc", "--netns", guest.name).lines[0]
      try guest.serve(.tcp, ip, "80", name: "guest")
      #expect(try topology.host.ask(.tcp, ip, 80).name == "guest")
      #expect(try topology.outside.ask(.tcp, ip, 80, timeout: 0.3).isUnanswered)
      try topology.portmap("map", "8080:80", "--to", ip)
      try topology.portmap("unmap", "8080")
      #expect(try topology.outside.ask(.tcp, ip, 80, timeout: 0.3).isUnanswered)
    }
  }
}
