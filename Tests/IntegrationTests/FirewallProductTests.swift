import Foundation
import Testing

/// The rules of docker and firewalld, before portmap's and after them.
@Suite struct FirewallProductTests {
  typealias Address = Topology.Address

  /// Rules that a real docker has made, as `iptables-save` has shown them (Tests/Fixtures).
  ///
  /// - Parameter first: Whether portmap's rules come later. docker puts what it has in FORWARD before what is there.
  private func loadDocker(_ host: Namespace, first: Bool) throws {
    for family in [("iptables", ""), ("ip6tables", "6")] {
      let path = Tools.repository.appendingPathComponent("Tests/Fixtures/docker.rules" + family.1)
      var position = 0
      let lines = try String(contentsOf: path, encoding: .utf8).split(separator: "\n").map { line in
        guard !first, line.hasPrefix("-A FORWARD ") else { return String(line) }
        position += 1
        return "-I FORWARD \(position) " + line.dropFirst("-A FORWARD ".count)
      }
      let script = "printf '%s\\n' \"$1\" | $0-restore --noflush"
      try host.exec("sh", "-c", script, family.0, lines.joined(separator: "\n"))
    }
  }

  /// The container behind docker's port 9080: on docker0, as docker would have it.
  private func startContainer(_ topology: Topology) throws {
    let container = try Namespace("c", topology.cleanup)
    try topology.host.ip(batch: [
      "link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up",
      "link add br-net1 type bridge", "link set br-net1 up",
      "link add veth0 type veth peer name eth0 netns \(container.name)", "link set veth0 master docker0 up",
    ])
    try container.ip(batch: [
      "addr add 172.17.0.2/16 dev eth0", "link set eth0 up", "route add default via 172.17.0.1",
    ])
    try container.serveBoth("172.17.0.2", "80", name: "container")
  }

  @Test(arguments: [true, false])
  func dockersRules(first: Bool) throws {
    try withServers { topology in
      try startContainer(topology)
      try topology.host.setSysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
      if first { try loadDocker(topology.host, first: true) }
      let before = try topology.host.snapshot()
      try topology.mapWeb()
      let guest = try topology.mappedGuest()
      if !first { try loadDocker(topology.host, first: false) }
      try topology.expectForwarded()
      try topology.expectProxied()
      try topology.expectMapped(guest)
      try topology.expectReachesOut(guest)
      try topology.expectShut([(Address.web, 81), (Address.web6, 81)])
      // Nor does docker's own port suffer.
      let answer = try topology.outside.ask(.tcp, Address.host, 9080)
      #expect(answer.name == "container" && answer.peer == Address.outside, "\(answer)")
      #expect(try topology.portmap("check").stdout.isEmpty)
      try topology.portmap("unmap", "--all")
      if first { #expect(try topology.host.snapshot() == before) }
      #expect(try !topology.host.rules().contains { $0.contains("PORTMAP") })
    }
  }

  /// With its own tables of nftables, which no accept of iptables gets past: `check` names them, and firewalld has to
  /// be told. It takes iptables' rules away when it starts and reloads.
  @Test func firewalldWithNFTables() throws {
    try withServers { topology in
      let firewalld = try Firewalld(topology, .nftables)
      try topology.mapWeb()
      let guest = try topology.mappedGuest()
      // What rules lead on it lets through by itself.
      try topology.expectForwarded()
      try topology.expectMapped(guest)
      try topology.expectReachesOut(guest, false)
      try topology.expectShut([(Address.host, 7000), (Address.host, 8086), (Address.host6, 8080)])
      let table = "nftables inet firewalld"
      #expect(
        try topology.portmap("check", status: 1).lines == [
          "\(table) filter_INPUT: it drops what comes in to the proxy of 8080->10.99.0.2:80, 8080->10.99.0.2:80/udp,"
            + " 8086->[fd00:99::2]:80 and 3 more",
          "\(table) filter_FORWARD: it drops what goes out from the guests of portmap0",
        ]
      )
      // As the manual has it.
      for port in ["8080", "8086", "8090"] {
        for transport in Transport.allCases {
          try firewalld("--permanent", "--add-port=\(port)/\(transport)")
        }
      }
      try firewalld("--permanent", "--zone=trusted", "--add-interface=portmap0")
      try reload(firewalld, topology)
      try topology.expectForwarded()
      try topology.expectProxied()
      try topology.expectMapped(guest)
      try topology.expectReachesOut(guest)
      try topology.expectShut([(Address.host, 7000), (Address.host6, 7000)])
    }
  }

  /// With its rules in iptables, portmap's stand before them.
  @Test func firewalldWithIPTables() throws {
    try withServers { topology in
      let firewalld = try Firewalld(topology, .iptables)
      try topology.mapWeb()
      let guest = try topology.mappedGuest()
      for isReloaded in [false, true] {
        if isReloaded { try reload(firewalld, topology) }
        try topology.expectForwarded()
        try topology.expectProxied()
        try topology.expectMapped(guest)
        try topology.expectReachesOut(guest)
        try topology.expectShut([(Address.host, 7000), (Address.host6, 7000), (Address.web, 81)])
      }
    }
  }

  /// Makes firewalld start over, beside rules of portmap's that are there already.
  private func reload(_ firewalld: Firewalld, _ topology: Topology) throws {
    try firewalld("--reload")
    let lost = try topology.portmap("check", status: 1)
    #expect(lost.lines.contains { $0.hasPrefix("iptables nat PREROUTING: the jump to PORTMAP") }, "\(lost)")
    try topology.portmap("repair")
    #expect(try topology.portmap("check").stdout.isEmpty)
  }
}
