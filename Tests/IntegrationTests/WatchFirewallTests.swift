import Foundation
import Testing

/// Real firewalls beside a running `apply --watch`: what they take away is back, what they set is theirs.
@Suite struct WatchFirewallTests {
  typealias Address = Topology.Address

  private static let lines = "map 8080:80/tcp+udp --to 10.99.0.2\nmap 8086:80/tcp+udp --to fd00:99::2"

  /// Traffic works again, from outside, loopback and guests, and a mapping of portmap's own bridge.
  private func expectTraffic(
    _ topology: Topology,
    within seconds: Double = 3,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    for (client, address, port, peer) in [
      (topology.outside, Address.host, 8080, Address.outside),
      (topology.outside, Address.host6, 8086, Address.outside6),
      (topology.other, Address.host, 8080, Address.bridge),
      (topology.host, "127.0.0.1", 8080, Address.bridge),
    ] {
      try eventually("\(address) \(port) is not back", within: seconds, at: location) {
        try client.ask(.tcp, address, port, timeout: 0.3).peer == peer
      }
    }
    try topology.expectForwarded(at: location)
    try topology.portmap("check", status: nil)
  }

  /// The rules that are not portmap's.
  private func others(_ host: Namespace) throws -> [String] {
    let own = { (line: String) in line.contains("PORTMAP") || line.contains("portmap") }
    return try (host.rules() + host.rules6()).filter { !own($0) }.sorted()
  }

  @Test(arguments: Firewalld.Backend.allCases)
  func firewalld(_ backend: Firewalld.Backend) throws {
    try withServers { topology in
      let firewalld = try Firewalld(topology, backend)
      let watch = try topology.watch(Self.lines)
      try expectTraffic(topology)
      let table = {
        backend == .iptables
          ? [] : try topology.host.exec("nft", "list", "table", "inet", "firewalld").lines
      }
      let before = (try others(topology.host), try table())
      for command in ["--reload", "--complete-reload", "--reload"] {
        try firewalld(command)
        try expectTraffic(topology)
        let after = (try others(topology.host), try table())
        #expect(after == before, "\(command)")
      }
      #expect(
        try topology.portmap("check", status: nil).lines.allSatisfy {
          $0.hasPrefix("nftables inet firewalld")
        }
      )
      try watch.end()
    }
  }

  /// With a configuration of its own in a mount namespace that lasts as long as the shell.
  @Test func ufw() throws {
    try withServers { topology in
      let script = """
        mount -t tmpfs none /mnt && mkdir /mnt/ufw && cp -a /etc/ufw/. /mnt/ufw && mount --bind /mnt/ufw /etc/ufw
        cp -a /etc/default/ufw /mnt/default && mount --bind /mnt/default /etc/default/ufw
        mount -t tmpfs none /run/lock 2>/dev/null
        while read -r line; do eval "$line" >&2; echo "done $?"; done
        """
      let input = topology.folder + "/commands"
      try run(["mkfifo", input])
      let shell = try topology.host.start(["unshare", "--mount", "sh", "-c", "(\(script)) <>\"$0\"", input])
      func ufw(_ command: String) throws {
        try run(["sh", "-c", "printf '%s\\n' \"$1\" >\"$0\"", input, command])
        #expect(shell.line(timeout: 60) == "done 0", "\(command)")
      }
      let watch = try topology.watch(Self.lines)
      // The second one makes some rules that the first leaves out.
      try ufw("ufw --force enable && ufw reload")
      try expectTraffic(topology)
      let before = try others(topology.host)
      #expect(before.contains { $0.contains("ufw-") })
      for command in ["ufw reload", "ufw disable && ufw --force enable", "ufw reload"] {
        try ufw(command)
        try expectTraffic(topology)
        let after = try others(topology.host)
        #expect(after.difference(from: before).isEmpty, "\(command)")
      }
      try topology.portmap("check")
      try watch.end()
    }
  }

  /// What nftables.service and netfilter-persistent run, with rules of their own, and with portmap's as they were once.
  @Test func servicesThatLoadRules() throws {
    try withServers { topology in
      let watch = try topology.watch(Self.lines)
      try expectTraffic(topology)
      let native = try topology.declare(
        "flush ruleset\ntable inet mine { chain input { type filter hook input priority 0; tcp dport 25 drop; }; }\n",
        as: "nftables.conf"
      )
      let saved = topology.folder + "/rules.v4"
      try topology.portmap("map", "8099:80", "--to", Address.other)
      let script = "iptables-save >\"$0\"; ip6tables-save >\"$0\"6"
      try topology.host.exec("sh", "-c", script, saved)
      try topology.portmap("unmap", "8099")
      let rules = try (topology.host.rules(), topology.host.rules6())
      for (command, isWithTable) in [
        ("nft -f \(native)", true), ("nft flush ruleset", false),
        // What is in there of a mapping that is gone goes, too.
        ("iptables-restore <\(saved); ip6tables-restore <\(saved)6", false),
        (
          "for t in filter nat mangle raw; do for p in iptables ip6tables; do $p -t $t -F; $p -t $t -X; done; done",
          false
        ),
        ("printf '*filter\\nCOMMIT\\n*nat\\nCOMMIT\\n' | iptables-restore", false),
        ("nft -f \(native)", true),
      ] {
        try topology.host.exec("sh", "-c", command)
        try expectTraffic(topology)
        try eventually("other rules: \(command)", within: 3) {
          try topology.host.rules().sorted() == rules.0.sorted()
            && topology.host.rules6().sorted() == rules.1.sorted()
        }
        let tables = try topology.host.exec("nft", "list", "tables").stdout
        #expect(tables.contains("inet mine") == isWithTable, "\(command)")
      }
      try topology.portmap("check")
      try watch.end()
    }
  }

  @Test func rulesOfTheLegacyVariant() throws {
    try withServers { topology in
      let watch = try topology.watch(Self.lines, portmap: topology.legacyPortmap())
      for command in [
        "for t in filter nat raw; do for p in iptables ip6tables; do $p-legacy -t $t -F; $p-legacy -t $t -X; done; done",
        "printf '*filter\\nCOMMIT\\n*nat\\nCOMMIT\\n' | iptables-legacy-restore",
      ] {
        try topology.host.exec("sh", "-c", command)
        try expectTraffic(topology, within: 10)
      }
      try watch.end()
    }
  }

  /// docker makes networks and containers, and takes them away; what both have mapped works all the time.
  @Test func docker() throws {
    try withServers { topology in
      let link = topology.folder + "/docker-proxy"
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: Tools.portmap)
      let watch = try topology.watch(Self.lines)
      let docker = try Docker(topology, proxy: link)
      try expectTraffic(topology)
      try docker("network", "create", "--subnet", "172.31.0.0/24", "extra")
      try docker.serve(.tcp, "80", name: "container", published: ["9080:80"])
      try expectTraffic(topology)
      #expect(try topology.outside.ask(.tcp, Address.host, 9080).peer == Address.outside)
      try topology.host.exec("iptables", "-t", "nat", "-D", "PREROUTING", "1")
      try expectTraffic(topology)
      #expect(try topology.outside.ask(.tcp, Address.host, 9080).peer == Address.outside)
      try docker("stop", "--time", "0", "container")
      try docker("network", "rm", "extra")
      try expectTraffic(topology)
      try topology.portmap("check")
      try watch.end()
    }
  }
}
