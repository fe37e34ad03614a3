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

  /// Bans of established connections, as fail2ban and DOCKER-USER have them, hold for all that is no mapping's: what
  /// others' rules lead to another guest, what the host itself asks there, what a mapping's guest asks the host.
  @Test func bansOfOtherToolsStayInForce() throws {
    try withServers { topology in
      try topology.other.serveBoth(Address.other6, "80", name: "other")
      for (tool, host, other) in [
        ("iptables", Address.host, Address.other), ("ip6tables", Address.host6, "[\(Address.other6)]"),
      ] {
        for hook in ["PREROUTING", "OUTPUT"] {
          for transport in Transport.allCases {
            let match = ["-d", host, "-p", transport.rawValue, "--dport", "9080"]
            let target = ["-j", "DNAT", "--to-destination", "\(other):80"]
            try topology.host.exec([tool, "-t", "nat", "-A", hook] + match + target)
          }
        }
      }
      try topology.host.setSysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
      // Without a ban all of it gets through, or nothing would be shown by what follows.
      try topology.expectStrangersConnections(.answered)
      for tool in ["iptables", "ip6tables"] {
        for hook in ["INPUT", "FORWARD"] {
          let ban = ["-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "DROP"]
          try topology.host.exec([tool, "-A", hook, "!", "-i", "lo"] + ban)
        }
      }
      try topology.mapWeb()
      try topology.expectForwarded()
      try topology.expectStrangersConnections(.silent)
    }
  }

  /// A router on the way to a backend says that a packet is too big: the client learns of it though nothing but a
  /// mapping's traffic is let through.
  @Test func errorsOnTheWayToABackend() throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let inner = try Namespace("i", topology.cleanup)
      try topology.web.ip(batch: [
        "link add inner type veth peer name eth0 netns \(inner.name)", "link set inner up",
        "addr add 10.98.0.1/24 dev inner", "addr add fd00:98::1/64 dev inner nodad",
      ])
      try inner.ip(batch: [
        "link set eth0 up", "addr add 10.98.0.2/24 dev eth0", "addr add fd00:98::2/64 dev eth0 nodad",
        "route add default via 10.98.0.1", "route add ::/0 via fd00:98::1",
      ])
      try topology.web.ip(batch: [
        "route add 10.98.0.2/32 dev inner mtu 1300", "route add fd00:98::2/128 dev inner mtu 1300",
      ])
      try topology.host.ip(batch: [
        "route add 10.98.0.0/24 via \(Address.web)", "route add fd00:98::/64 via \(Address.web6)",
      ])
      try topology.web.setSysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
      try inner.serve(.tcp, "10.98.0.2", "80", name: "inner", mode: "sink")
      try inner.serve(.tcp, "fd00:98::2", "80", name: "inner", mode: "sink")
      for tool in ["iptables", "ip6tables"] { try topology.host.exec(tool, "-P", "FORWARD", "DROP") }
      try topology.portmap("map", "8080:80", "--no-proxy", "--to", "10.98.0.2")
      try topology.portmap("map", "8086:80", "--no-proxy", "--to", "fd00:98::2")
      for (address, port) in [(Address.host, 8080), (Address.host6, 8086)] {
        let answer = try topology.outside.ask(.tcp, address, port, timeout: 3, "--size", "20000")
        #expect(answer.name == "inner" && answer.text.hasSuffix(" 20000"), "\(answer)")
      }
    }
  }
}

extension Topology {
  /// Asks what no mapping leads to: port 9080, which rules of somebody else's lead to `other`, and the host's own 7000.
  fileprivate func expectStrangersConnections(
    _ verdict: Answer.Verdict,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    for transport in Transport.allCases {
      let led = [
        (outside, Address.host, 9080), (outside, Address.host6, 9080), (host, Address.host, 9080),
        (host, Address.host6, 9080),
      ]
      // The first datagram to the host is one of a new connection, which nobody has banned.
      let own = transport == .tcp ? [(web, Address.bridge, 7000), (web, Address.bridge6, 7000)] : []
      for (client, address, port) in led + own {
        let answer = try client.ask(transport, address, port, timeout: verdict == .answered ? 2 : 0.3)
        #expect(
          answer.verdict == verdict,
          "\(client.name) to \(address) \(port), \(transport): \(answer)",
          sourceLocation: location
        )
      }
    }
  }
}
