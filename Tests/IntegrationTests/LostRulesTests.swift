import Foundation
import Testing

/// A changing command finds what a firewall's reload has taken of the rules that it builds on, and puts it back.
@Suite struct LostRulesTests {
  typealias Address = Topology.Address

  @Test(arguments: [
    "iptables -t nat -F; iptables -F; ip6tables -F", "iptables -t nat -F PREROUTING",
    "iptables -t nat -D PREROUTING 1", "nft flush ruleset",
    "iptables -t nat -F PORTMAP-POST || true; iptables -F",
  ])
  func mapPutsThemBack(_ flush: String) throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try portmap("map", "8080:80", "--to", Address.web)
      let rules = try topology.host.rules()
      try topology.host.exec("sh", "-c", flush)
      let outcome = try portmap("map", "8081:80", "--to", Address.web)
      #expect(outcome.stderr.contains("put back"), "\(outcome)")
      for port in [8080, 8081] {
        #expect(try topology.outside.ask(.tcp, Address.host, port).peer == Address.outside)
      }
      try portmap("check")
      try portmap("unmap", "8081")
      #expect(try topology.host.rules() == rules)
      // Nothing is said, and nothing compared, while nobody touches the rules.
      let quiet = try portmap("map", "-v", "8082:80", "--to", Address.web)
      #expect(!quiet.stderr.contains("put back") && !quiet.stderr.contains("-save"), "\(quiet)")
    }
  }

  /// Where portmap's own bridge is, alloc builds on its rules, too.
  @Test func allocPutsThemBack() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("alloc", "--ip")
      try topology.host.exec("nft", "flush", "ruleset")
      try portmap("map", "8080:80")
      try portmap("check")
    }
  }

  @Test func anotherToolsChangesAreLookedAtAndLeft() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", Address.web)
      try topology.host.exec("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "25", "-j", "DROP")
      let outcome = try portmap("map", "-v", "8081:80", "--to", Address.web)
      #expect(!outcome.stderr.contains("put back") && outcome.stderr.contains("-save"), "\(outcome)")
      #expect(try topology.host.exec("iptables", "-S", "INPUT").stdout.contains("--dport 25"))
    }
  }
}
