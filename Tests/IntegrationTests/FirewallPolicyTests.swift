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
    try withTopology { topology in
      let servers = [
        try topology.web.serveBoth(Address.web, "80-81", name: "web"),
        try topology.web.serveBoth(Address.web6, "80-81", name: "web"),
        try topology.host.serveBoth("::", "7000", name: "host"),
      ]
      try closeFirewall(of: topology.host)
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try topology.portmap("map", "8086:80/tcp+udp", "--to", Address.web6)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.outside.ask(transport, Address.host6, 8086).peer == Address.outside6)
        #expect(try topology.other.ask(transport, Address.host, 8080).name == "web")
        // Served by the proxy, which INPUT would otherwise drop.
        #expect(try topology.outside.ask(transport, Address.host6, 8080).peer == Address.bridge)
        #expect(try topology.outside.ask(transport, Address.host, 8086).peer == Address.bridge6)
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
        // What nobody mapped.
        for (address, port) in [
          (Address.host, 7000), (Address.host6, 7000), (Address.web, 80), (Address.web, 81),
          (Address.web6, 81),
        ] {
          let answer = try topology.outside.ask(transport, address, port, timeout: 0.2)
          #expect(answer.verdict != .answered, "\(answer)")
        }
      }
      try topology.portmap("unmap", "8080", "8080/udp", "8086", "8086/udp")
      #expect(try topology.host.snapshot() == before)
      withExtendedLifetime(servers) {}
    }
  }

  /// The real one, with a copy of the machine's configuration that nobody else sees.
  @Test func ufwEnabled() throws {
    try withTopology { topology in
      let servers = [
        try topology.web.serveBoth(Address.web, "80-81", name: "web"),
        try topology.host.serveBoth("::", "7000", name: "host"),
      ]
      let script = """
        set -e
        mount -t tmpfs tmpfs /mnt
        cp -a /etc/ufw /mnt/ufw && mount --bind /mnt/ufw /etc/ufw
        cp -a /etc/default/ufw /mnt/default && mount --bind /mnt/default /etc/default/ufw
        ufw --force enable
        ufw status
        """
      let ufw = try topology.host.exec("unshare", "--mount", "sh", "-c", script)
      #expect(ufw.stdout.contains("Status: active"), "\(ufw)")
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.outside.ask(transport, Address.host6, 8080).peer == Address.bridge)
        #expect(try topology.host.ask(transport, Address.host, 8080).name == "web")
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
        #expect(try topology.other.ask(transport, Address.host, 8080).name == "web")
        for (address, port) in [(Address.host, 7000), (Address.host6, 7000), (Address.web, 81)] {
          let answer = try topology.outside.ask(transport, address, port, timeout: 0.2)
          #expect(answer.verdict != .answered, "\(answer)")
        }
      }
      try topology.portmap("unmap", "--all")
      #expect(try topology.host.snapshot() == before)
      withExtendedLifetime(servers) {}
    }
  }

  @Test func policiesWithoutAnyException() throws {
    try withTopology { topology in
      let servers = [
        try topology.web.serveBoth(Address.web, "80", name: "web"),
        try topology.web.serveBoth(Address.web6, "80", name: "web"),
      ]
      for tool in ["iptables", "ip6tables"] {
        for chain in ["INPUT", "FORWARD"] { try topology.host.exec(tool, "-P", chain, "DROP") }
        try topology.host.exec(tool, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
      }
      // Without neighbour discovery there is no IPv6 at all.
      try topology.host.exec("ip6tables", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try topology.portmap("map", "8086:80/tcp+udp", "--to", Address.web6)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.outside.ask(transport, Address.host6, 8086).peer == Address.outside6)
        #expect(try topology.host.ask(transport, Address.host, 8080).name == "web")
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
        #expect(try topology.outside.ask(transport, Address.host6, 8080).name == "web")
        #expect(try topology.outside.ask(transport, Address.host, 8086).name == "web")
      }
      withExtendedLifetime(servers) {}
    }
  }

  @Test func proxyOnlyPortsAreTheUsersOwnBusiness() throws {
    try withTopology { topology in
      let server = try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try closeFirewall(of: topology.host)
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      #expect(try topology.host.snapshot() == before)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      withExtendedLifetime(server) {}
    }
  }

  @Test func portmapsBridgeReachesOutAndIsShutToTheOutside() throws {
    try withTopology { topology in
      try closeFirewall(of: topology.host)
      let guest = try Namespace("p", topology.cleanup)
      let portmap = topology.portmap
      let ip = try portmap("alloc", "--netns", guest.name).lines[0]
      let servers = [
        try guest.serveBoth(ip, "80", name: "guest"),
        try topology.outside.serveBoth(Address.outside, "9000", name: "outside"),
      ]
      for transport in Transport.allCases {
        let answer = try guest.ask(transport, Address.outside, 9000)
        #expect(answer.name == "outside" && answer.peer == Address.host, "\(answer)")
        #expect(try topology.outside.ask(transport, ip, 80, timeout: 0.3).verdict != .answered)
      }
      try portmap("map", "8080:80/tcp+udp", "--to", guest.name)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        // Mapped or not: only through the mapping.
        #expect(try topology.outside.ask(transport, ip, 80, timeout: 0.3).verdict != .answered)
      }
      withExtendedLifetime(servers) {}
    }
  }

  @Test func guestsOfAnotherBridgeAreOutside() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let ip = try topology.portmap("alloc", "--netns", guest.name).lines[0]
      let servers = [
        try guest.serve(.tcp, ip, "80", name: "guest"),
        try topology.web.serve(.tcp, Address.web, "80", name: "web"),
      ]
      #expect(try topology.web.ask(.tcp, ip, 80, timeout: 0.3).verdict != .answered)
      #expect(try guest.ask(.tcp, Address.web, 80).name == "web")
      try topology.portmap("map", "8080:80", "--to", ip)
      #expect(try topology.web.ask(.tcp, ip, 80, timeout: 0.3).verdict != .answered)
      #expect(try topology.web.ask(.tcp, Address.bridge, 8080).peer == Address.web)
      withExtendedLifetime(servers) {}
    }
  }

  @Test func aGuestCannotBeReachedDirectlyUnderAnOpenPolicy() throws {
    try withTopology { topology in
      let guest = try Namespace("p", topology.cleanup)
      let ip = try topology.portmap("alloc", "--netns", guest.name).lines[0]
      let server = try guest.serve(.tcp, ip, "80", name: "guest")
      #expect(try topology.host.ask(.tcp, ip, 80).name == "guest")
      #expect(try topology.outside.ask(.tcp, ip, 80, timeout: 0.3).verdict != .answered)
      try topology.portmap("map", "8080:80", "--to", ip)
      try topology.portmap("unmap", "8080")
      #expect(try topology.outside.ask(.tcp, ip, 80, timeout: 0.3).verdict != .answered)
      withExtendedLifetime(server) {}
    }
  }
}
