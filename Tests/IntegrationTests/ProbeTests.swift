import Foundation
import Testing

/// `check --probe`: whether backends answer, and why not.
@Suite struct ProbeTests {
  typealias Address = Topology.Address

  struct Line: Decodable, Equatable {
    let problem: String
    let subject: String
    let note: Bool?
  }

  /// What the probe says on stdout, a line a difference; none where all is well.
  private func probe(_ portmap: Portmap, _ targets: String..., status: Int32 = 1) throws -> Outcome {
    let outcome = try portmap.run(["check", "--probe"] + targets, status: status)
    #expect(outcome.lines.isEmpty == (status == 0), "\(outcome)")
    return outcome
  }

  // MARK: what answers

  @Test func everythingAnswers() throws {
    try withServers { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try portmap("map", "8086:80", "--to", Address.web6)
      try portmap("map", "127.0.0.1:8081:80", "--to", Address.web)
      try portmap("map", "8082:80", "--masquerade", "--to", Address.other)
      let outcome = try probe(portmap, status: 0)
      for line in [
        "8080->10.99.0.2:80: outside ok; here ok; in a guest ok",
        "8080->10.99.0.2:80/udp: outside ok; here ok; in a guest ok",
        "8086->[fd00:99::2]:80: outside ok; here ok; in a guest ok",
        "127.0.0.1:8081->10.99.0.2:80: outside: not meant for it; here ok; in a guest: not meant for it",
      ] {
        #expect(outcome.stderr.contains("portmap: \(line)\n"), "\(outcome)")
      }
      #expect(try portmap("check", "--probe", "-q").stderr.isEmpty)
      #expect(try portmap("check", "--probe", "--json").stdout == "[]\n")
      let steps = try portmap("check", "--probe", "-v", "8080").stderr
      for step in ["10.99.0.2: by br0, from 10.99.0.1", "10.99.0.2:80: connected", "asked from 192.0.2.1"] {
        #expect(steps.contains(step), "\(steps)")
      }
    }
  }

  @Test func nothingToAskAndNobodyMeant() throws {
    try withHost { portmap, _ in
      #expect(try portmap("check", "--probe").stdout.isEmpty)
      try portmap("alloc", "8080")
      #expect(try portmap("check", "--probe", "8080").stdout.isEmpty)
      try portmap("check", "--probe", "8081", status: 5)
    }
  }

  /// An ordinary user's mappings, too.
  @Test func withoutRoot() throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.binary = try topology.readableBinary()
      portmap.prefix = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
      portmap.state = topology.folder + "/user"
      try FileManager.default.createDirectory(atPath: portmap.state, withIntermediateDirectories: false)
      try run(["chown", "1000:1000", portmap.state])
      try portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      let outcome = try probe(portmap)
      #expect(outcome.lines == ["10.99.0.2:80: connection refused (nothing listens there)"])
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      _ = try probe(portmap, status: 0)
      try portmap("unmap", "--all")
    }
  }

  /// From inside the namespace that a mapping leads into, by root and by the user whose it is.
  @Test func intoANamespace() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let name = topology.web.name
      try portmap("map", "8080:80", "53:53/udp", "--into", name)
      let outcome = try probe(portmap)
      #expect(
        outcome.lines == [
          "127.0.0.1:80 in \(name): connection refused (nothing listens there)",
          "127.0.0.1:53/udp in \(name): connection refused (nothing listens there)",
        ]
      )
      try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try topology.web.serve(.udp, "127.0.0.1", "53", name: "web")
      #expect(try probe(portmap, status: 0).stderr.contains("8080->127.0.0.1:80: outside ok; here ok"))
    }
  }

  // MARK: what does not

  @Test(arguments: ["", "/udp"])
  func nothingListens(_ suffix: String) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      try portmap("map", "8080:80\(suffix)", "--to", Address.web)
      let outcome = try probe(portmap)
      #expect(outcome.lines == ["10.99.0.2:80\(suffix): connection refused (nothing listens there)"])
      #expect(outcome.stderr.contains("1 difference\nhint: "), "\(outcome)")
      let json = try portmap.run(["check", "--probe", "--json"], status: 1).json([Line].self)
      #expect(
        json == [
          Line(
            problem: "connection refused (nothing listens there)",
            subject: "10.99.0.2:80\(suffix)",
            note: nil
          )
        ]
      )
      // Without --probe nobody is asked.
      #expect(try portmap("check").stdout.isEmpty)
    }
  }

  @Test func anotherPortIsOpen() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "8000", name: "web")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      let outcome = try probe(topology.portmap)
      #expect(outcome.stderr.contains("hint: open there: 8000; map HOST:8000"), "\(outcome)")
    }
  }

  @Test func itListensOnLoopbackAlone() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      let outcome = try probe(topology.portmap)
      #expect(outcome.lines == ["10.99.0.2:80: connection refused (it listens on 127.0.0.1 alone)"])
      #expect(outcome.stderr.contains("hint: let it listen on 10.99.0.2"), "\(outcome)")
      #expect(outcome.stderr.contains("--into"), "\(outcome)")
    }
  }

  @Test(arguments: [
    ("DROP", "no answer in 2 seconds (a firewall in the guest drops it)"),
    (
      "REJECT --reject-with tcp-reset",
      "connection refused, though it listens (a firewall in the guest)"
    ),
    (
      "REJECT --reject-with icmp-host-prohibited",
      "rejected (a firewall or a router says that there is no way)"
    ),
  ])
  func theGuestsFirewall(_ action: String, _ words: String) throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.web.exec(["sh", "-c", "iptables -A INPUT -p tcp --dport 80 -j \(action)"])
      try topology.portmap("map", "8080:80", "--to", Address.web)
      #expect(try probe(topology.portmap).lines == ["10.99.0.2:80: \(words)"])
    }
  }

  @Test func noRouteBack() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", Address.web)
      try topology.web.ip("route", "del", "default")
      let outcome = try probe(portmap)
      #expect(
        outcome.lines == ["10.99.0.2:80: it has no route back to clients of other networks"],
        "\(outcome)"
      )
      #expect(outcome.stderr.contains("hint: map it with --masquerade"), "\(outcome)")
      #expect(outcome.stderr.contains("; here ok; in a guest ok\n"), "\(outcome)")
      // And so it is.
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).isUnanswered)
      try portmap("unmap", "8080")
      try portmap("map", "8080:80", "--masquerade", "--to", Address.web)
      _ = try probe(portmap, status: 0)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
    }
  }

  @Test func aWayBackThatLeadsElsewhere() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try topology.web.ip("route", "replace", "default", "via", Address.other)
      let outcome = try probe(topology.portmap)
      #expect(outcome.lines.first?.contains("take another way") ?? false, "\(outcome)")
    }
  }

  @Test func noNeighbour() throws {
    try withTopology { topology in
      try topology.portmap("map", "8080:80", "53:53/udp", "--to", "10.99.0.9")
      let outcome = try probe(topology.portmap)
      let words = "no neighbour answers on br0 (nobody has the address)"
      #expect(outcome.lines == ["10.99.0.9:80: \(words)", "10.99.0.9:53/udp: \(words)"])
    }
  }

  @Test func theWrongSubnet() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", "10.98.0.2")
      let outcome = try probe(portmap)
      #expect(outcome.lines.count == 1, "\(outcome)")
      #expect(
        outcome.lines[0].hasPrefix(
          "10.98.0.2:80: no route to it (this host's networks: "
        ),
        "\(outcome)"
      )
      #expect(outcome.lines[0].contains("10.99.0.0/24"), "\(outcome)")
      // With a default route it is asked somewhere else.
      try topology.host.ip("route", "add", "default", "via", Address.outside)
      let away = try probe(portmap)
      #expect(away.lines == ["10.98.0.2:80: no answer in 2 seconds by way of 192.0.2.2 on eth0"])
      #expect(away.stderr.contains("hint: is the address right? it is in none of"), "\(away)")
    }
  }

  @Test func anotherLinkHasTheRoute() throws {
    try withServers { topology in
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try topology.host.ip("route", "add", "10.99.0.2/32", "dev", "eth0")
      let outcome = try probe(topology.portmap)
      #expect(
        outcome.lines == [
          "10.99.0.2:80: no answer: the route leads through eth0, its network is br0's"
        ]
      )
    }
  }

  /// The guest has a second way out, by which its answers come back.
  @Test func strictReversePathFilter() throws {
    try withServers { topology in
      let (host, web) = (topology.host, topology.web)
      try host.ip("link", "add", "side", "type", "veth", "peer", "name", "eth1", "netns", web.name)
      try host.ip("addr", "add", "10.97.0.1/24", "dev", "side")
      try host.ip("link", "set", "side", "up")
      try web.ip("addr", "add", "10.97.0.2/24", "dev", "eth1")
      try web.ip("link", "set", "eth1", "up")
      try web.ip("route", "replace", "default", "via", "10.97.0.1")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      _ = try probe(topology.portmap, status: 0)
      try host.setSysctl("net.ipv4.conf.side.rp_filter=1")
      let outcome = try probe(topology.portmap)
      #expect(outcome.lines.count == 1, "\(outcome)")
      #expect(outcome.lines[0].hasSuffix(": rp_filter is strict on side"), "\(outcome)")
      #expect(outcome.stderr.contains("hint: sysctl -w net.ipv4.conf.side.rp_filter=2"), "\(outcome)")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).isUnanswered)
      try host.setSysctl("net.ipv4.conf.side.rp_filter=2")
      _ = try probe(topology.portmap, status: 0)
    }
  }

  @Test func forwardingOff() throws {
    try withServers { topology in
      let (portmap, host) = (topology.portmap, topology.host)
      try portmap("map", "8086:80", "--to", Address.web6)
      try portmap("map", "8080:80", "--to", Address.web)
      try host.setSysctl("net.ipv6.conf.all.forwarding=0")
      let outcome = try probe(portmap)
      #expect(
        outcome.lines == [
          "net.ipv6.conf.all.forwarding: it is off, so nothing is forwarded to backends"
        ]
      )
      #expect(
        outcome.stderr.contains(
          "8086->[fd00:99::2]:80: outside: net.ipv6.conf.all.forwarding: it is off, so nothing is forwarded to backends; here ok;"
        ),
        "\(outcome)"
      )
      #expect(outcome.stderr.contains("8080->10.99.0.2:80: outside ok; here ok; in a guest ok"), "\(outcome)")
      #expect(try probe(portmap, "8080", status: 0).lines.isEmpty)
      try portmap("repair")
      _ = try probe(portmap, status: 0)
      try host.setSysctl("net.ipv4.conf.br0.forwarding=0")
      #expect(
        try probe(portmap).lines == ["10.99.0.2:80: br0 forwards nothing (net.ipv4.conf.br0.forwarding is 0)"]
      )
    }
  }

  /// The bridge got its network after the mapping: the guest's neighbours are not masqueraded.
  @Test func neighboursOfTheBackend() throws {
    try withServers { topology in
      let (portmap, host) = (topology.portmap, topology.host)
      try host.ip("addr", "del", "10.99.0.1/24", "dev", "br0")
      try host.ip("route", "add", "10.99.0.2/32", "dev", "br0")
      try portmap("map", "8080:80", "--to", Address.web)
      try host.ip("addr", "add", "10.99.0.1/24", "dev", "br0")
      try host.ip("route", "del", "10.99.0.2/32", "dev", "br0")
      try topology.setBridgeNetfilter(false)
      let outcome = try probe(portmap)
      #expect(outcome.lines.count == 1, "\(outcome)")
      #expect(outcome.lines[0].contains("clients of its own network 10.99.0.0/24"), "\(outcome)")
      #expect(outcome.stderr.contains("outside ok; here ok; in a guest: clients of"), "\(outcome)")
      #expect(try topology.other.ask(.tcp, Address.bridge, 8080).isUnanswered)
      try portmap("unmap", "8080")
      try portmap("map", "8080:80", "--to", Address.web)
      _ = try probe(portmap, status: 0)
      #expect(try topology.other.ask(.tcp, Address.bridge, 8080).name == "web")
    }
  }

  // MARK: rules, by viewpoint

  @Test func rulesInTheWay() throws {
    try withServers { topology in
      let (portmap, host) = (topology.portmap, topology.host)
      try portmap("map", "8080:80", "--to", Address.web)
      try host.exec([
        "sh", "-c", "iptables -t nat -I PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 9",
      ])
      let foreign = try probe(portmap)
      #expect(foreign.stderr.contains("outside: a rule of somebody else's comes first"), "\(foreign)")
      #expect(foreign.stderr.contains("; here ok; in a guest: a rule"), "\(foreign)")
      // What repair leaves alone is not to be given to it.
      #expect(
        foreign.stderr.hasSuffix("\nhint: change it where it was made: repair leaves rules of others alone\n")
      )
      try host.exec("iptables", "-t", "nat", "-D", "PREROUTING", "1")
      try host.exec([
        "nft",
        "add table inet own; add chain inet own forward { type filter hook forward priority 0; };"
          + " add rule inet own forward tcp dport 80 drop",
      ])
      let native = try probe(portmap)
      #expect(native.stderr.contains("outside: nftables inet own forward drops it; here ok;"), "\(native)")
      #expect(native.stderr.hasSuffix("\nhint: nft insert rule inet own forward ct status dnat accept\n"))
      try host.exec("nft", "delete", "table", "inet", "own")
      try host.exec("iptables", "-I", "FORWARD", "-d", Address.web, "-j", "DROP")
      let dropped = try probe(portmap)
      #expect(
        dropped.stderr.contains("outside: a rule of somebody else's comes first: FORWARD: "),
        "\(dropped)"
      )
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).isUnanswered)
    }
  }

  @Test func aDeadProcess() throws {
    try withServers { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", Address.web)
      let pid = try #require(try portmap.list().mappings.first?.pid)
      kill(pid, SIGKILL)
      let outcome = try probe(portmap)
      #expect(outcome.stderr.contains("outside ok; here: the background process"), "\(outcome)")
    }
  }

  // MARK: many at once

  @Test func manySilentOnesTakeTwoSeconds() throws {
    try withTopology { topology in
      try topology.web.exec("iptables", "-P", "INPUT", "DROP")
      try topology.portmap("map", "8000-8099:8000-8099", "--to", Address.web)
      try topology.portmap("map", "9000-9099:9000-9099", "--to", Address.other)
      let begin = Date()
      let outcome = try probe(topology.portmap)
      #expect(-begin.timeIntervalSinceNow < 5, "\(outcome)")
      #expect(outcome.lines.count == 2, "\(outcome)")
      #expect(outcome.lines[0].hasPrefix("10.99.0.2:8000-8099: no answer"), "\(outcome)")
      #expect(outcome.lines[1].hasPrefix("10.99.0.3:9000-9099: connection refused"), "\(outcome)")
    }
  }

  @Test func aRangeOfTenThousand() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "10000", name: "web")
      try topology.portmap("map", "10000-19999:10000-19999", "--to", Address.web)
      let outcome = try probe(topology.portmap)
      let word = "note: 10.99.0.2:10000-19999: 256 of these 10000 ports were asked"
      #expect(outcome.stderr.contains(word), "\(outcome)")
      #expect(
        outcome.lines.count == 1 && outcome.lines[0].contains("-19999: connection refused"),
        "\(outcome)"
      )
    }
  }
}
