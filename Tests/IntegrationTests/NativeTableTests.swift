import Foundation
import Testing

/// nftables' own tables next to portmap's rules: `check` names a chain if and only if it drops what portmap needs.
@Suite struct NativeTableTests {
  typealias Address = Topology.Address

  /// A table of nft's own, and what it drops.
  struct Table: CustomTestStringConvertible, Sendable {
    let testDescription: String
    /// What stands in `table inet own { … }`.
    let text: String
    let drops: Set<Drop>

    init(_ text: String, _ drops: Drop...) {
      testDescription = text
      self.text = text
      self.drops = Set(drops)
    }
  }

  /// What the tests ask for, each from outside, but for the last two.
  enum Drop: String, CaseIterable {
    /// 8080 of the host's IPv4 address, by DNAT.
    case forwarded = "what is forwarded for 8080->10.99.0.2:80"
    /// 8080 of the host's IPv6 address.
    case proxied = "what comes in to the proxy of 8080->10.99.0.2:80"
    /// Both of these, before routing.
    case arriving = "what comes in for 8080->10.99.0.2:80"
    /// 8080 of 127.0.0.1 and ::1, from the host.
    case own = "what the host itself sends to the proxy of 8080->10.99.0.2:80"
    /// A guest of portmap0 to the outside.
    case outgoing = "what goes out from the guests of portmap0"
  }

  private static let forward = "type filter hook forward priority 10; policy"
  private static let input = "type filter hook input priority 10; policy"

  private static let tables = [
    Table("chain onward { \(forward) drop; }", .forwarded, .outgoing),
    Table("chain onward { \(forward) accept; reject; }", .forwarded, .outgoing),
    Table("chain onward { \(forward) drop; ct state established,related accept; }", .forwarded, .outgoing),
    Table("chain onward { \(forward) drop; ct state established accept; ct status dnat accept; }", .outgoing),
    Table(
      "chain onward { \(forward) drop; ct state vmap { established: accept, new: jump more }; }; chain more { accept; }"
    ),
    Table(
      "chain onward { \(forward) drop; ct state established accept; iifname \"portmap*\" accept; tcp dport 80 accept; }"
    ),
    Table(
      "set open { type inet_service; elements = { 22, 80 }; };"
        + " chain onward { \(forward) drop; ct state established accept; iifname != \"portmap0\" tcp dport @open accept; }",
      .outgoing
    ),
    Table(
      "chain onward { \(forward) accept; ip saddr 172.16.42.0/24 oifname \"eth0\" counter drop; }",
      .outgoing
    ),
    // As libvirt has it, for what does not begin inside.
    Table(
      "chain guests { oif \"br0\" ip daddr 10.99.0.0/24 ct state established accept; oif \"br0\" reject; };"
        + " chain onward { \(forward) accept; counter jump guests; }",
      .forwarded
    ),
    Table("chain onward { \(forward) accept; iifname \"docker0\" oifname \"br0\" drop; }"),
    Table(
      "chain onward { \(forward) drop; ct state established accept; iifname \"eth0\" oifname \"br*\" accept; }",
      .outgoing
    ),
    Table(
      "chain onward { \(forward) accept; ip daddr 10.99.0.2 ct state new tcp dport 79-81 drop; }",
      .forwarded
    ),
    Table("chain onward { \(forward) accept; ip daddr 10.99.0.3 drop; }"),
    Table(
      "chain onward { \(forward) accept; tcp dport { 22, 8080 } drop; udp dport 80 drop; meta nfproto ipv6 drop; }"
    ),
    Table(
      "chain onward { \(forward) accept; ip saddr 198.51.100.0/24 drop; ct state invalid drop; limit rate over 10000/second drop; }"
    ),
    Table(
      "chain onward { \(forward) drop; goto every; }; chain every { jump some; accept; }; chain some { return; drop; }"
    ),
    Table(
      "map by { type inet_service : verdict; elements = { 80 : goto never }; };"
        + " chain onward { \(forward) accept; ct state new tcp dport vmap @by; }; chain never { drop; }",
      .forwarded
    ),
    Table(
      "chain inward { \(input) drop; ct state established accept; iifname \"lo\" accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }",
      .proxied
    ),
    Table(
      "chain inward { \(input) drop; iifname lo accept; ct state established accept; meta l4proto ipv6-icmp accept;"
        + " tcp dport 8000-9000 accept; }"
    ),
    Table(
      "chain inward { \(input) accept; iifname vmap { \"lo\" : accept, \"eth0\" : jump wan }; }; chain wan { tcp dport 8080 drop; }",
      .proxied
    ),
    Table("chain inward { \(input) accept; meta l4proto tcp th dport != 22 drop; }", .proxied, .own),
    Table("chain inward { \(input) accept; ip saddr 127.0.0.0/8 tcp dport 8080 drop; }", .own),
    Table(
      "chain inward { \(input) accept; iifname \"lo\" ip daddr 127.0.0.1 tcp dport 8000-8100 reject; }",
      .own
    ),
    Table("chain inward { \(input) accept; iifname != \"lo\" udp dport != 22 drop; }"),
    Table(
      "chain early { type filter hook prerouting priority -150; policy accept; tcp dport 8080 drop; }",
      .arriving,
      .own
    ),
    Table(
      "chain early { type filter hook prerouting priority -50; policy accept; tcp dport 8080 drop; }",
      .proxied,
      .own
    ),
    Table(
      "chain early { type filter hook prerouting priority -50; policy accept; ct status dnat tcp dport 80 drop; }",
      .forwarded
    ),
    Table(
      "chain early { type filter hook prerouting priority -150; policy accept; ip saddr 172.16.42.0/24 drop; }",
      .outgoing
    ),
  ]

  @Test func checkNamesWhatDrops() throws {
    try withServers { topology in
      let portmap = topology.portmap
      let guest = try Namespace("p", topology.cleanup)
      try portmap("alloc", "--netns", guest.name)
      try portmap.withoutConnecting("map", "8080:80", "--to", Address.web)
      #expect(try portmap("check").stdout.isEmpty)
      for table in Self.tables {
        try topology.host.exec("nft", "add table inet own { \(table.text); }")
        let check = try portmap("check", status: table.drops.isEmpty ? 0 : 1)
        let expected = table.drops.map { "it drops \($0.rawValue)" }
        #expect(
          Set(check.lines.map { $0.split(separator: ": ", maxSplits: 1)[1].description }) == Set(expected),
          "\(table.text): \(check)"
        )
        #expect(check.lines.allSatisfy { $0.hasPrefix("nftables inet own ") }, "\(check)")
        // And so it is.
        let asking = try [
          (topology.outside, Address.host, 8080, Drop.forwarded),
          (topology.outside, Address.host6, 8080, .proxied), (topology.host, "127.0.0.1", 8080, .own),
          (guest, Address.outside, 9000, .outgoing),
        ].map { client, address, port, cause in
          let drops =
            table.drops.contains(cause)
            || (table.drops.contains(.arriving) && [.forwarded, .proxied].contains(cause))
          let question = try client.startAsking(.tcp, address, port, timeout: drops ? 0.2 : 2)
          return (question, cause, drops)
        }
        for (question, cause, drops) in asking {
          let answer = Answer(question.wait())
          #expect(answer.isUnanswered == drops, "\(table.text), \(cause): \(answer)")
        }
        try topology.host.exec("nft", "delete table inet own")
      }
      #expect(try portmap("check").stdout.isEmpty)
    }
  }

  @Test func iptablesOwnTablesAreNotMeant() throws {
    try withServers { topology in
      for tool in ["iptables", "ip6tables"] {
        for chain in ["INPUT", "FORWARD"] { try topology.host.exec(tool, "-P", chain, "DROP") }
      }
      try topology.portmap("map", "8080:80", "--to", Address.web)
      #expect(try topology.portmap("check").stdout.isEmpty)
    }
  }

  @Test func manyMappingsAreOneLine() throws {
    try withServers { topology in
      let specs = (8001...8005).map { "\($0):80" }
      try topology.portmap.run(["map"] + specs + ["--to", Address.web])
      try topology.host.exec("nft", "add table ip own { chain onward { \(Self.forward) drop; }; }")
      #expect(
        try topology.portmap("check", status: 1).lines == [
          "nftables ip own onward: it drops what is forwarded for 8001->10.99.0.2:80, 8002->10.99.0.2:80,"
            + " 8003->10.99.0.2:80 and 2 more"
        ]
      )
    }
  }

  /// A rule about a part of a range's ports drops the range's traffic, and does not let all of it through.
  @Test func aRuleAboutSomeOfTheRangesPorts() throws {
    try withServers { topology in
      try topology.portmap("map", "8001-8005:8001-8005", "--to", Address.web)
      for (text, drops) in [
        ("\(Self.forward) accept; tcp dport 8003 drop;", true),
        ("\(Self.forward) accept; tcp dport 8006 drop;", false),
        ("\(Self.forward) drop; tcp dport 8003 accept;", true),
        ("\(Self.forward) drop; tcp dport 8000-9000 accept;", false),
      ] {
        try topology.host.exec("nft", "add table ip own { chain onward { \(text) }; }")
        try topology.portmap("check", status: drops ? 1 : 0)
        try topology.host.exec("nft", "delete table ip own")
      }
    }
  }
}
