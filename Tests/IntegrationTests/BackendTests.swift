import Foundation
import Testing

/// Both of iptables' own backends, and hosts that have only some of the programs.
@Suite struct BackendTests {
  typealias Address = Topology.Address

  @Test func iptablesLegacy() throws {
    try withTopology { topology in
      let servers = [
        try topology.web.serveBoth(Address.web, "80-90", name: "web"),
        try topology.web.serveBoth(Address.web6, "80", name: "web"),
      ]
      var shims: [String: String] = [:]
      for family in ["iptables", "ip6tables"] {
        for suffix in ["", "-save", "-restore"] {
          shims[family + suffix] = "exec \(family)-legacy\(suffix) \"$@\""
        }
      }
      let portmap = try topology.portmap(with: shims)
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
      for family in ["iptables", "ip6tables"] {
        let left = try topology.host.exec("\(family)-legacy-save").lines.filter {
          $0.hasPrefix("-") || $0.contains("PORTMAP")
        }
        #expect(left.isEmpty, "\(left)")
      }
      withExtendedLifetime(servers) {}
    }
  }

  @Test func withoutIP6Tables() throws {
    try withTopology { topology in
      let server = try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let portmap = try topology.portmap(withOnly: [
        "conntrack", "ip", "iptables", "iptables-restore", "iptables-save",
      ])
      let before = try topology.host.snapshot()
      try portmap("map", "8080:80", "--to", Address.web)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try topology.outside.ask(.tcp, Address.host6, 8080).name == "web")
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
      withExtendedLifetime(server) {}
    }
  }

  @Test func withoutConntrackThereIsAWarning() throws {
    try withTopology { topology in
      let portmap = try topology.portmap(withOnly: [
        "ip", "ip6tables", "ip6tables-restore", "ip6tables-save", "iptables", "iptables-restore",
        "iptables-save",
      ])
      let outcome = try portmap("map", "8080:80/udp", "--to", Address.web)
      #expect(outcome.stderr.contains("conntrack"), "\(outcome)")
      #expect(outcome.stdout == "8080->10.99.0.2:80/udp\n")
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
