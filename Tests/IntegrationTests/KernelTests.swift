import Foundation
import Testing

/// Kernels and hosts that lack something, and switches that others depend on.
@Suite struct KernelTests {
  typealias Address = Topology.Address

  @Test func routerAdvertisementsStayAccepted() throws {
    try withTopology { topology in
      try topology.host.setSysctl("net.ipv6.conf.eth0.accept_ra=1", "net.ipv6.conf.br0.accept_ra=0")
      try topology.portmap("map", "8080:80", "--to", Address.web6)
      #expect(try topology.host.sysctl("net.ipv6.conf.all.forwarding") == "1")
      // A router ignores them unless this is 2.
      #expect(try topology.host.sysctl("net.ipv6.conf.eth0.accept_ra") == "2")
      #expect(try topology.host.sysctl("net.ipv6.conf.br0.accept_ra") == "0")
    }
  }

  @Test func ipv6TurnedOff() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.host.setSysctl("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
      let before = try topology.host.snapshot()
      try topology.portmap("alloc", "8081")
      try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
      }
      try topology.portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  /// Foundation's Process learns of a program's end by sockets over 127.0.0.1: nobody waits for that, nor reads of it.
  @Test func loopbackDown() throws {
    try withHost { portmap, host in
      try host.ip("addr", "del", "127.0.0.1/8", "dev", "lo")
      try host.ip("link", "set", "lo", "down")
      let start = Date()
      for arguments in [
        ["alloc", "--ip"], ["map", "8080:80", "--to", "10.99.0.2"], ["check"], ["unmap", "--all"],
      ] {
        let lines = try portmap.run(arguments).stderr.split(separator: "\n")
        #expect(lines.allSatisfy { $0.hasPrefix("portmap: ") }, "\(lines)")
      }
      let time = Date().timeIntervalSince(start)
      #expect(time < 3, "waits for what does not arrive: \(time) s")
    }
  }

  @Test func loopbackDropped() throws {
    try withHost { portmap, host in
      for chain in ["INPUT", "OUTPUT", "FORWARD"] { try host.exec("iptables", "-P", chain, "DROP") }
      let before = try host.snapshot()
      let start = Date()
      try portmap("map", "8080:80", "--to", "10.99.0.2")
      try portmap("check")
      try portmap("unmap", "8080")
      let time = Date().timeIntervalSince(start)
      #expect(time < 3, "waits for packets that do not arrive: \(time) s")
      try host.expectUnchanged(before)
    }
  }

  /// A kernel without NAT for IPv6, or one that lacks another table: only who needs that table misses it.
  @Test(arguments: [
    ("ip6tables", "nat", Address.web), ("ip6tables", "raw", Address.web6), ("iptables", "raw", Address.web),
  ])
  func aTableThatNobodyNeeds(tool: String, table: String, backend: String) throws {
    try withServers { topology in
      let words = "\(tool): table \(table) is not there"
      let failing =
        "case \"$*\" in *'-t \(table)'*) echo '\(words)' >&2; exit 3;; esac; exec \"$real\" \"$@\""
      let portmap = try topology.portmap(with: ["\(tool)-save": failing])
      let before = try topology.host.snapshot()
      try portmap("map", "8080:80/tcp+udp", "9000-9600:9000-9600", "--to", backend)
      #expect(try portmap("check").stdout.isEmpty)
      for program in ["iptables", "ip6tables"] { try topology.host.exec(program, "-F", "INPUT") }
      #expect(try portmap("check", status: 1).stdout.contains(" is missing"))
      try portmap("repair")
      #expect(try portmap("check").stdout.isEmpty)
      // What is gone already is looked for before the rest is removed.
      for program in ["iptables", "ip6tables"] { try topology.host.exec(program, "-F", "INPUT") }
      try portmap("unmap", "8080", "8080/udp", "9000-9600")
      #expect(try topology.host.snapshot() == before)
    }
  }

  /// Who has rules in the table is told what the program says.
  @Test func aTableThatIsNeeded() throws {
    try withServers { topology in
      let words = "ip6tables: table nat is not there"
      let failing = "case \"$*\" in *'-t nat'*) echo '\(words)' >&2; exit 3;; esac; exec \"$real\" \"$@\""
      let portmap = try topology.portmap(with: ["ip6tables-save": failing])
      try portmap("map", "8086:80", "--to", Address.web6)
      #expect(try portmap("check", status: 1).stderr.contains(words))
      #expect(try portmap("repair", status: 1).stderr.contains(words))
    }
  }

  @Test func sctpWhereTheKernelHasIt() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let known = try String(contentsOfFile: "/proc/net/protocols", encoding: .utf8).contains("SCTP")
      for arguments in [["map", "8080:80/sctp", "8081:80", "--to", Address.web], ["alloc", "8080/sctp"]] {
        let outcome = try topology.portmap.run(arguments, status: known ? 0 : 1)
        if known {
          try topology.portmap("unmap", "--all")
        } else {
          #expect(outcome.stderr.lowercased().contains("sctp"), "\(outcome)")
        }
        try topology.host.expectUnchanged(before)
        #expect(try topology.portmap.list().isEmpty)
      }
    }
  }

  @Test func aBigRange() throws {
    try withTopology { topology in
      try topology.web.serve(.udp, Address.web, "17000-17010", name: "web")
      let before = try topology.host.snapshot()
      let mapping = try #require(
        try topology.portmap.map("8000-18000:8000-18000/udp", "--to", Address.web).first
      )
      #expect(try topology.host.translations().count == 1)
      #expect(try topology.outside.ask(.udp, Address.host, 17010).peer == Address.outside)
      #expect(try topology.host.ask(.udp, "127.0.0.1", 17000).name == "web")
      let pid = try #require(mapping.pid)
      #expect(try topology.host.processes() == [pid])
      let memory = try String(contentsOfFile: "/proc/\(pid)/smaps_rollup", encoding: .utf8)
      let kilobytes = try #require(memory.firstMatch(of: /Pss: +(\d+) kB/).flatMap { Int($0.1) })
      #expect(kilobytes < 64 << 10)
      try topology.portmap("unmap", "8000-18000/udp")
      try topology.host.expectUnchanged(before)
    }
  }
}
