import Foundation
import Testing

/// What `check` sees and `repair` mends.
@Suite struct RepairTests {
  typealias Address = Topology.Address

  /// One kind of damage, as a shell script run in the host's namespace.
  struct Damage: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let script: String

    init(_ description: String, _ script: String) {
      testDescription = description
      self.script = script
    }
  }

  private static let flush = """
    for tool in iptables ip6tables; do
      for table in raw nat filter; do $tool -t $table -F; $tool -t $table -X; done
    done
    """

  private static let massacre =
    "pids=$(ip netns pids $NAMESPACE | grep -vx $$); kill -9 $pids 2>/dev/null || true"

  /// Takes the first rule of a table that matches a pattern, and deletes it (-D), appends it again (-A), or both.
  private static func rule(_ pattern: String, _ table: String, _ commands: String..., edit: String = "")
    -> String
  {
    "line=$(iptables-save -t \(table) | grep -e '\(pattern)' | head -n 1 | sed -e 's/^-A //' \(edit))\n"
      + commands.map { "echo \"$line\" | xargs iptables -t \(table) \($0)" }.joined(separator: "\n")
  }

  private static let damages = [
    Damage("a firewall reload", flush),
    Damage("dead processes", massacre),
    Damage("both", flush + "\n" + massacre),
    Damage("a rule less", rule("-j DNAT", "nat", "-D")),
    Damage("a rule twice", rule("-j DNAT", "nat", "-A")),
    Damage(
      "a rule behind those that it should precede",
      rule("--dport 8200:8900 .*-j DNAT", "nat", "-D", "-A")
    ),
    Damage(
      "a rule that no mapping has",
      rule("--dport 8080 .*-j DNAT", "nat", "-A", edit: "-e 's/:[a-f][0-9a-f]\\{7\\}\"/:f0000000\"/'")
    ),
    Damage("a jump less", rule("^-A PREROUTING", "nat", "-D")),
    Damage("another jump less", rule("^-A FORWARD", "filter", "-D")),
    Damage("the bridge's drop rule gone", rule("-j DROP", "raw", "-D")),
    Damage("the bridge's address", "ip addr flush dev portmap0"),
    Damage("the bridge down", "ip link set portmap0 down"),
    Damage("no bridge", "ip link del portmap0"),
    Damage("the bridge's port", "ip link set $(ls /sys/class/net/portmap0/brif | head -n 1) nomaster"),
  ]

  @Test(arguments: damages)
  func damageIsSeenAndMended(_ damage: Damage) throws {
    try withTopology { topology in
      // No port of the guests' bridge needs hairpin mode then.
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      let guest = try Namespace("p", topology.cleanup)
      let ip = try portmap("alloc", "--netns", guest.name).lines[0]
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try guest.serveBoth(ip, "80", name: "guest")
      try portmap("map", "8080:80/tcp+udp", "8200-8900:80-780", "--to", Address.web)
      try portmap("map", "8081:80/tcp+udp", "--to", guest.name)
      try portmap("map", "8082:80", "--to", Address.web6)
      try portmap("alloc", "9000")
      #expect(try portmap("check").stdout.isEmpty)
      let before = try topology.host.snapshot()
      try topology.host.exec(
        ["sh", "-c", damage.script],
        environment: ["NAMESPACE": topology.host.name]
      )
      let seen = try portmap("check", status: 1)
      #expect(!seen.lines.isEmpty)
      let document = try portmap("check", "--json", status: 1).json([[String: String]].self)
      #expect(document.count == seen.lines.count)
      #expect(document.allSatisfy { $0["problem"] != nil && $0["subject"] != nil })
      try portmap("repair")
      let after = try portmap("check", status: nil)
      #expect(after.status == 0 && after.stdout.isEmpty, "\(after)")
      #expect(try topology.host.snapshot() == before)
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try topology.outside.ask(transport, Address.host, 8081).peer == Address.outside)
        #expect(try topology.host.ask(transport, "127.0.0.1", 8081).name == "guest")
        #expect(try topology.outside.ask(transport, ip, 80, timeout: 0.2).isUnanswered)
      }
      #expect(try topology.host.bind(.tcp, "::", 9000)?.contains("EADDRINUSE") == true)
    }
  }

  @Test func aPortThatAStrangerHasTakenSince() throws {
    try withTopology { topology in
      // No port of the guests' bridge needs hairpin mode then.
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.host.ip("link", "set", "web", "type", "bridge_slave", "hairpin", "on")
      try portmap("map", "8080:80", "--to", Address.web)
      try portmap("map", "8081:80", "--to", Address.web)
      try topology.host.killProcesses()
      let stranger = try topology.host.serve(.tcp, "0.0.0.0", "8080", name: "stranger")
      #expect(try portmap("check", status: 1).stdout.contains("8080"))
      let repair = try portmap("repair", status: 1)
      #expect((repair.stdout + repair.stderr).contains("8080"), "\(repair)")
      // The rest is done.
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8081).name == "web")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "stranger")
      stranger.kill()
      try portmap("repair")
      try portmap("check")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
    }
  }

  @Test func aForeignRuleThatTakesThePort() throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      try topology.portmap("map", "8080:80", "--to", Address.web)
      for match in [
        ["-p", "tcp", "--dport", "8080"], ["-p", "tcp", "--dport", "8000:9000"],
        ["-p", "tcp", "-m", "multiport", "--dports", "80,8080"],
        ["-p", "tcp", "-d", Address.host, "--dport", "8080"],
      ] {
        let rule = match + ["-j", "DNAT", "--to-destination", "10.99.0.3:80"]
        try topology.host.exec(["iptables", "-t", "nat", "-I", "PREROUTING"] + rule)
        #expect(try topology.portmap("check", status: 1).stdout.contains("8080"), "\(match)")
        try topology.host.exec(["iptables", "-t", "nat", "-D", "PREROUTING"] + rule)
        try topology.portmap("check")
      }
      // Behind the jump, or of another port or protocol, it takes nothing.
      for match in [
        ["-A", "PREROUTING", "-p", "tcp", "--dport", "8080"],
        ["-I", "PREROUTING", "-p", "tcp", "--dport", "8081"],
        ["-I", "PREROUTING", "-p", "udp", "--dport", "8080"],
      ] {
        try topology.host.exec(
          ["iptables", "-t", "nat"] + match + ["-j", "DNAT", "--to-destination", "10.99.0.3:80"]
        )
      }
      try topology.portmap("check")
    }
  }

  @Test func hairpinModeWhereItIsNeeded() throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(true)
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      // The host knows on which port its guest is.
      #expect(try topology.host.ask(.tcp, Address.web, 80).name == "web")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      // It works but for one thing, which is somebody else's to mend: no difference, but a note.
      let outcome = try topology.portmap("check")
      #expect(outcome.stdout.isEmpty && outcome.stderr.hasPrefix("portmap: note: "), "\(outcome)")
      #expect(outcome.stderr.contains("hairpin") && outcome.stderr.contains("web"), "\(outcome)")
      struct Note: Decodable { let note: Bool? }
      #expect(try topology.portmap("check", "--json").json([Note].self).map(\.note) == [true])
      try topology.host.ip("link", "set", "web", "type", "bridge_slave", "hairpin", "on")
      try topology.portmap("check")
      try topology.host.ip("link", "set", "web", "type", "bridge_slave", "hairpin", "off")
      try topology.setBridgeNetfilter(false)
      try topology.portmap("check")
    }
  }

  @Test(arguments: ["", "{\"version\":", "not json at all"])
  func aDamagedStateFile(_ text: String) throws {
    try withTopology { topology in
      // No port of the guests' bridge needs hairpin mode then.
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let before = try topology.host.snapshot()
      try portmap("map", "8080:80", "--to", Address.web)
      try portmap("alloc", "9000")
      let path = portmap.state + "/state.json"
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      try portmap("list", status: 1)
      try portmap("repair", status: nil)
      let files = try FileManager.default.contentsOfDirectory(atPath: portmap.state)
      let copies = files.filter { name in
        name.hasPrefix("state.json.")
          && FileManager.default.contents(atPath: portmap.state + "/" + name) == Data(text.utf8)
      }
      #expect(!copies.isEmpty, "\(files)")
      // From what the background processes know of themselves.
      try portmap("check")
      let list = try portmap.list()
      #expect(list.mappings.map(\.hostPort) == [8080] && list.reservations.map(\.port) == [9000])
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func nothingThere() throws {
    try withHost { portmap, host in
      #expect(try portmap("check").stdout.isEmpty)
      #expect(try portmap("check", "--json").stdout.trimmingCharacters(in: .whitespacesAndNewlines) == "[]")
      try portmap("repair")
      try host.expectUnchanged(Snapshot(rules: [], rules6: [], links: ["lo"]))
    }
  }
}
