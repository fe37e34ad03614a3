import Foundation
import Testing

/// Both of iptables' own backends, and hosts that have only some of the programs.
@Suite struct BackendTests {
  typealias Address = Topology.Address

  private func legacyRules(_ host: Namespace) throws -> [String] {
    try ["iptables", "ip6tables"].flatMap { try host.exec("\($0)-legacy-save").lines }
      .filter { $0.hasPrefix("-") || $0.contains("PORTMAP") }
  }

  @Test func iptablesLegacy() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80-90", name: "web")
      try topology.web.serveBoth(Address.web6, "80", name: "web")
      let portmap = try topology.legacyPortmap()
      let before = try topology.host.snapshot()
      try portmap("map", "8080:80/tcp+udp", "8000-8010:80-90", "--to", Address.web)
      try portmap("map", "8086:80/tcp+udp", "--to", Address.web6)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.outside.ask(transport, Address.host6, 8086).peer == Address.outside6)
        #expect(try topology.other.ask(transport, Address.host, 8080).peer == Address.bridge)
      }
      #expect(try topology.outside.ask(.tcp, Address.host, 8007).port == 87)
      // Nothing of it went to the other backend.
      try topology.host.expectUnchanged(before, processes: topology.host.processes())
      try portmap("unmap", "--all")
      #expect(try legacyRules(topology.host).isEmpty)
    }
  }

  /// `iptables` is switched to another backend and the rules of the first one are still there.
  @Test func anotherBackendInBetween() throws {
    try withServers { topology in
      let (nft, legacy) = (topology.portmap, try topology.legacyPortmap())
      let before = try topology.host.snapshot()
      let processes = try topology.host.processes()
      for (first, second, names) in [
        (nft, legacy, ["nf_tables", "legacy"]), (legacy, nft, ["legacy", "nf_tables"]),
      ] {
        try first("map", "8080:80/tcp+udp", "--to", Address.web)
        try first("map", "8081:80", "--to", Address.web)
        let mapped = (try topology.host.snapshot(), try legacyRules(topology.host))
        // Nothing is added to rules that the new one cannot see.
        let refused = try second("map", "8082:80", "--to", Address.web, status: 1)
        #expect(names.allSatisfy { refused.stderr.contains("(\($0))") }, "\(refused)")
        let check = try second("check", status: 1)
        #expect(names.allSatisfy { check.stdout.contains("(\($0))") }, "\(check)")
        #expect(try (topology.host.snapshot(), legacyRules(topology.host)) == mapped)
        // What is taken away is taken away where it is, which is said.
        #expect(try second("unmap", "8081").stderr.contains("(\(names[0]))"))
        #expect(try topology.outside.ask(.tcp, Address.host, 8081).verdict == .refused)
        #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
        #expect(try first("check").stdout.isEmpty)
        try second("repair")
        #expect(try second("check").stdout.isEmpty)
        #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
        // The last one too.
        #expect(try first("unmap", "--all").stderr.contains("(\(names[1]))"))
        try topology.host.expectUnchanged(before, processes: processes)
        #expect(try legacyRules(topology.host).isEmpty)
      }
    }
  }

  /// A command that was killed while it made the first rules; the next one finds another iptables.
  @Test func anotherBackendAfterACrash() throws {
    try withServers { topology in
      let before = try topology.host.snapshot()
      let restore = "[ \"$1\" = --version ] && exec \"$real\" \"$1\"; \"$real\" \"$@\"; kill -9 $PPID"
      let dying = try topology.portmap(with: ["iptables-restore": restore])
      try dying("map", "8080:80", "--to", Address.web, status: 137)
      #expect(try topology.host.rules().contains { $0.contains("PORTMAP") })
      try topology.legacyPortmap()("unmap", "--all")
      #expect(try topology.host.snapshot() == before)
    }
  }

  @Test func withoutIP6Tables() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let portmap = try topology.portmap(withOnly: [
        "ip", "iptables", "iptables-restore", "iptables-save",
      ])
      let before = try topology.host.snapshot()
      let words = "no rules for IPv6 here"
      #expect(try portmap("map", "8080:80", "--to", Address.web).stderr.contains(words))
      // Said once.
      #expect(try !portmap("map", "8081:80", "--to", Address.web).stderr.contains(words))
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try topology.outside.ask(.tcp, Address.host6, 8080).name == "web")
      // A backend that only a rule for IPv6 could reach.
      let refused = try portmap("map", "8086:80", "--to", Address.web6, status: 1)
      #expect(refused.stderr.contains("ip6tables"), "\(refused)")
      try portmap("map", "8086:80", "--proxy-only", "--to", Address.web6)
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func missingProgramsAreNamed() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = try topology.portmap(withOnly: [])
      let outcome = try portmap("map", "8080:80", "--to", Address.web, status: 1)
      #expect(outcome.stderr.contains("command not found: "), "\(outcome)")
      #expect(try portmap("alloc", "--ip", status: 1).stderr.contains("command not found: ip"))
      try topology.host.expectUnchanged(before)
      // What needs no program works without any.
      #expect(
        try portmap("map", "8081:80", "--proxy-only", "--to", Address.web).stdout == "8081->10.99.0.2:80\n"
      )
      #expect(try portmap("alloc", "8082").stdout == "8082\n")
      try portmap("unmap", "8081", "8082")
      #expect(try topology.host.processes().isEmpty)
    }
  }
}
