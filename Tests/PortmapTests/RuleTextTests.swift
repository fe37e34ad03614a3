import Testing

@testable import portmap

/// Rules as the text that iptables-restore gets, against text written by hand.
@Suite struct RuleTextTests {
  private let layout = ChainLayout(tag: "")

  /// What a mapping needs, with what it shares: the backend's network is 10.0.0.0/24 where it is in there.
  private func rules(_ mapping: MappingRecord) throws -> [Rule] {
    let subnet = try Samples.subnet("10.0.0.1/24")
    let near = subnet.contains(mapping.backendIP) ? subnet : nil
    return mapping.rules + (mapping.delivery.nat ? layout.forwarding(to: mapping.backendIP, from: near) : [])
      + (mapping.delivery.proxy ? layout.replies(from: mapping.backendIP) : [])
  }

  private func chains(_ rules: [Rule]) -> [Chain] {
    RuleChange.adding(rules, to: [], layout, serial: 1).chains
  }

  private static let first4 = """
    *nat
    :PORTMAP - [0:0]
    :PORTMAP-TCP - [0:0]
    :PORTMAP-POST - [0:0]
    :PORTMAP-TCP-31 - [0:0]
    -I PREROUTING 1 ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment "portmap:chain" -j PORTMAP
    -I OUTPUT 1 ! -s 127.0.0.0/8 ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment "portmap:chain" -j PORTMAP
    -A PORTMAP -p tcp -m comment --comment "portmap:chain" -j PORTMAP-TCP
    -I POSTROUTING 1 -m comment --comment "portmap:chain" -j PORTMAP-POST
    -A PORTMAP-TCP -p tcp -m tcp --dport 7936:8191 -m comment --comment "portmap:chain" -g PORTMAP-TCP-31
    -A PORTMAP-TCP-31 -p tcp -m tcp --dport 8080 -m comment --comment "portmap:a0000001" -j DNAT --to-destination 10.0.0.2:80
    -A PORTMAP-POST -s 10.0.0.0/24 -d 10.0.0.2/32 -m conntrack --ctstate DNAT -m comment --comment "portmap:backend" -j MASQUERADE
    COMMIT
    *filter
    :PORTMAP-IN - [0:0]
    :PORTMAP-TO - [0:0]
    :PORTMAP-FWD - [0:0]
    :PORTMAP-FROM - [0:0]
    :PORTMAP-BACKEND-02 - [0:0]
    -A PORTMAP-IN -d 127.0.0.0/8 -i lo -m comment --comment "portmap:chain" -j ACCEPT
    -I INPUT 1 -m comment --comment "portmap:chain" -j PORTMAP-IN
    -A PORTMAP-FWD -m conntrack --ctstate DNAT --ctdir ORIGINAL -m comment --comment "portmap:chain" -j PORTMAP-TO
    -I FORWARD 1 -m comment --comment "portmap:chain" -j PORTMAP-FWD
    -A PORTMAP-FWD -m conntrack --ctstate DNAT --ctdir REPLY -m comment --comment "portmap:chain" -j PORTMAP-FROM
    -A PORTMAP-IN -m conntrack --ctstate DNAT --ctdir REPLY -m comment --comment "portmap:chain" -j PORTMAP-FROM
    -A PORTMAP-TO -d 0.0.0.2/0.0.0.63 -m comment --comment "portmap:chain" -g PORTMAP-BACKEND-02
    -I PORTMAP-FROM 1 -s 0.0.0.2/0.0.0.63 -m comment --comment "portmap:chain" -j PORTMAP-BACKEND-02
    -A PORTMAP-FROM -p icmp -m comment --comment "portmap:chain" -j PORTMAP-BACKEND-02
    -A PORTMAP-BACKEND-02 -m conntrack --ctreplsrc 10.0.0.2 -m comment --comment "portmap:backend" -j ACCEPT
    -A PORTMAP-IN -s 10.0.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -m comment --comment "portmap:backend" -j ACCEPT
    COMMIT

    """
  private static let first6 = """
    *filter
    :PORTMAP-IN - [0:0]
    :PORTMAP-IN-TCP - [0:0]
    :PORTMAP-IN-TCP-31 - [0:0]
    -A PORTMAP-IN -d ::1/128 -i lo -m comment --comment "portmap:chain" -j ACCEPT
    -I INPUT 1 -m comment --comment "portmap:chain" -j PORTMAP-IN
    -A PORTMAP-IN -p tcp -m comment --comment "portmap:chain" -j PORTMAP-IN-TCP
    -A PORTMAP-IN-TCP -p tcp -m tcp --dport 7936:8191 -m comment --comment "portmap:chain" -g PORTMAP-IN-TCP-31
    -A PORTMAP-IN-TCP-31 -p tcp -m tcp --dport 8080 -m comment --comment "portmap:a0000001" -j ACCEPT
    COMMIT

    """

  @Test func oneMapping() throws {
    let change = RuleChange.adding(
      try rules(Samples.record("a0000001", "8080:80")),
      to: [],
      layout,
      serial: 1
    )
    #expect(change.families == [.v4, .v6])
    #expect(change.installText(.v4) == Self.first4)
    #expect(change.installText(.v6) == Self.first6)
  }

  @Test func itsRemoval() throws {
    let rules = try rules(Samples.record("a0000001", "8080:80"))
    var change = RuleChange.removing(rules, from: chains(rules), remaining: [])
    change.chains.sort { $0.name < $1.name }
    #expect(
      change.removeText(.v6) == """
        *filter
        -D INPUT -m comment --comment "portmap:chain" -j PORTMAP-IN
        -F PORTMAP-IN
        -F PORTMAP-IN-TCP
        -F PORTMAP-IN-TCP-31
        -X PORTMAP-IN
        -X PORTMAP-IN-TCP
        -X PORTMAP-IN-TCP-31
        COMMIT

        """
    )
    let lines = change.removeText(.v4).split(separator: "\n")
    #expect(
      lines.filter { $0.hasPrefix("-D") } == [
        "-D PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment \"portmap:chain\" -j PORTMAP",
        "-D OUTPUT ! -s 127.0.0.0/8 ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -m comment --comment \"portmap:chain\" -j PORTMAP",
        "-D POSTROUTING -m comment --comment \"portmap:chain\" -j PORTMAP-POST",
        "-D FORWARD -m comment --comment \"portmap:chain\" -j PORTMAP-FWD",
        "-D INPUT -m comment --comment \"portmap:chain\" -j PORTMAP-IN",
      ]
    )
  }

  /// The second mapping to a backend adds its own rule alone, in a block that is there already.
  @Test func sharedBackend() throws {
    let first = try rules(Samples.record("a0000001", "8080:80"))
    let second = try Samples.record("a0000002", "8081:81")
    let change = RuleChange.adding(second.rules, to: chains(first), layout, serial: 2)
    #expect(
      change.installText(.v4) == """
        *nat
        -A PORTMAP-TCP-31 -p tcp -m tcp --dport 8081 -m comment --comment "portmap:a0000002" -j DNAT --to-destination 10.0.0.2:81
        COMMIT

        """
    )
    #expect(
      change.installText(.v6) == """
        *filter
        -A PORTMAP-IN-TCP-31 -p tcp -m tcp --dport 8081 -m comment --comment "portmap:a0000002" -j ACCEPT
        COMMIT

        """
    )
    let removal = RuleChange.removing(second.rules, from: chains(first), remaining: first)
    #expect(
      removal.removeText(.v4) == """
        *nat
        -D PORTMAP-TCP-31 -p tcp -m tcp --dport 8081 -m comment --comment "portmap:a0000002" -j DNAT --to-destination 10.0.0.2:81
        COMMIT

        """
    )
  }

  @Test func otherBlockOfTheSameProtocol() throws {
    let first = try rules(Samples.record("a0000001", "8080:80"))
    let change = RuleChange.adding(
      try Samples.record("a0000002", "65535:80", proxy: false).rules,
      to: chains(first),
      layout,
      serial: 2
    )
    #expect(change.families == [.v4])
    #expect(
      change.installText(.v4) == """
        *nat
        :PORTMAP-TCP-255 - [0:0]
        -A PORTMAP-TCP -p tcp -m tcp --dport 65280:65535 -m comment --comment "portmap:chain" -g PORTMAP-TCP-255
        -A PORTMAP-TCP-255 -p tcp -m tcp --dport 65535 -m comment --comment "portmap:a0000002" -j DNAT --to-destination 10.0.0.2:80
        COMMIT

        """
    )
  }

  /// The rules of one mapping, without those of its chains.
  private func own(
    _ spec: String,
    to backend: String = "10.0.0.2",
    masquerade: Bool = false,
    proxy: Bool = false
  )
    throws -> [String]
  {
    try Samples.record("a0000001", spec, to: backend, masquerade: masquerade, proxy: proxy).rules.map(\.text)
  }

  private let mark = "-m comment --comment \"portmap:a0000001\""

  /// It stands before the dispatch to the blocks, since after a goto no packet comes back.
  @Test func rangeAcrossBlocksComesFirst() throws {
    #expect(
      try own("8190-8195:8190-8195/udp") == [
        "4 nat -I PORTMAP-UDP -p udp -m udp --dport 8190:8195 \(mark) -j DNAT --to-destination 10.0.0.2"
      ]
    )
    let rules = try Samples.record("a0000001", "8190-8195:8190-8195/udp", proxy: false).rules
    let text = RuleChange.adding(rules, to: [], layout, serial: 1).installText(.v4)
    #expect(text.contains("\n-I PORTMAP-UDP 1 -p udp -m udp --dport 8190:8195 "))
    #expect(!text.contains(" -g "))
  }

  @Test func rangeInOneBlock() throws {
    #expect(
      try own("8000-8010:8000-8010") == [
        "4 nat -A PORTMAP-TCP-31 -p tcp -m tcp --dport 8000:8010 \(mark) -j DNAT --to-destination 10.0.0.2"
      ]
    )
    #expect(try own("7936-8191:7936-8191")[0].hasPrefix("4 nat -A PORTMAP-TCP-31 "))
    #expect(try own("7935-7936:7935-7936")[0].hasPrefix("4 nat -I PORTMAP-TCP "))
  }

  @Test func shiftedRangeNamesItsFirstOriginalPort() throws {
    #expect(
      try own("8000-8010:9000-9010") == [
        "4 nat -A PORTMAP-TCP-31 -p tcp -m tcp --dport 8000:8010 \(mark) -j DNAT --to-destination 10.0.0.2:9000-9010/8000"
      ]
    )
    #expect(
      try own("8000-8010:9000-9010", to: "2001:db8::2") == [
        "6 nat -A PORTMAP-TCP-31 ! -s fe80::/10 -p tcp -m tcp --dport 8000:8010 \(mark) -j DNAT --to-destination [2001:db8::2]:9000-9010/8000"
      ]
    )
  }

  /// Link-local clients are the proxy's, and so is all of the other family.
  @Test func backendOfIPv6() throws {
    #expect(
      try own("8080:80", to: "2001:db8::2", proxy: true) == [
        "6 nat -A PORTMAP-TCP-31 ! -s fe80::/10 -p tcp -m tcp --dport 8080 \(mark) -j DNAT --to-destination [2001:db8::2]:80",
        "4 filter -A PORTMAP-IN-TCP-31 -p tcp -m tcp --dport 8080 \(mark) -j ACCEPT",
        "6 filter -A PORTMAP-IN-TCP-31 -s fe80::/10 -p tcp -m tcp --dport 8080 \(mark) -j ACCEPT",
      ]
    )
    #expect(
      layout.forwarding(to: try Samples.address("2001:db8::2"), from: try Samples.subnet("2001:db8::1/64"))
        .map(\.text)
        == [
          "6 filter -A PORTMAP-BACKEND-02 -m conntrack --ctreplsrc 2001:db8::2 -m comment --comment \"portmap:backend\" -j ACCEPT",
          "6 nat -A PORTMAP-POST -s 2001:db8::/64 -d 2001:db8::2/128 -m conntrack --ctstate DNAT -m comment --comment \"portmap:backend\" -j MASQUERADE",
        ]
    )
  }

  /// Only what begins an association is led to the backend: the heartbeats of a local client of the proxy are not.
  @Test func associations() throws {
    #expect(
      try own("8080:80/sctp") == [
        "4 nat -A PORTMAP-SCTP-31 -p sctp -m sctp --dport 8080 --chunk-types any INIT \(mark) -j DNAT --to-destination 10.0.0.2:80"
      ]
    )
  }

  @Test func hostAddress() throws {
    #expect(
      try own("192.0.2.1:8080:80", proxy: true) == [
        "4 nat -A PORTMAP-TCP-31 -d 192.0.2.1/32 -p tcp -m tcp --dport 8080 \(mark) -j DNAT --to-destination 10.0.0.2:80"
      ]
    )
    #expect(
      try own("0.0.0.0:8080:80") == [
        "4 nat -A PORTMAP-TCP-31 -p tcp -m tcp --dport 8080 \(mark) -j DNAT --to-destination 10.0.0.2:80"
      ]
    )
    // Of the other family: nothing to rewrite, something to let in.
    #expect(
      try own("[2001:db8::1]:8080:80", proxy: true) == [
        "6 filter -A PORTMAP-IN-TCP-31 -d 2001:db8::1/128 -p tcp -m tcp --dport 8080 \(mark) -j ACCEPT"
      ]
    )
  }

  /// Told apart by where the connections were sent first: no other mapping's are rewritten.
  @Test func masquerade() throws {
    #expect(
      try own("192.0.2.1:8000-8010:8000-8010/udp", masquerade: true)[1]
        == "4 nat -A PORTMAP-POST -d 10.0.0.2/32 -m conntrack --ctstate DNAT --ctproto 17 --ctorigdst 192.0.2.1"
        + " --ctorigdstport 8000:8010 \(mark) -j MASQUERADE"
    )
    #expect(
      try own("8080:80", masquerade: true)[1]
        == "4 nat -A PORTMAP-POST -d 10.0.0.2/32 -m conntrack --ctstate DNAT --ctproto 6"
        + " --ctorigdstport 8080 \(mark) -j MASQUERADE"
    )
  }

  @Test func backendBehindARouter() throws {
    #expect(
      layout.forwarding(to: try Samples.address("10.0.0.2"), from: nil)[1].text
        == "4 nat -A PORTMAP-POST -s 10.0.0.2/32 -d 10.0.0.2/32 -m conntrack --ctstate DNAT -m comment --comment \"portmap:backend\" -j MASQUERADE"
    )
  }

  /// A chain is found by the last six bits of its backends' addresses, in each family as iptables-save prints it.
  @Test(arguments: [
    ("10.0.0.0", "00", "0.0.0.0/0.0.0.63"), ("10.1.2.63", "3F", "0.0.0.63/0.0.0.63"),
    ("10.1.2.74", "0A", "0.0.0.10/0.0.0.63"), ("fd00::", "00", "::/::3f"), ("fd00::ffff", "3F", "::3f/::3f"),
  ])
  func chainOfABackend(_ address: String, _ bits: String, _ block: String) throws {
    let place = layout.place(ofBackend: try Samples.address(address))
    #expect(place.name == "PORTMAP-BACKEND-" + bits)
    let icmp = place.family == .v4 ? "icmp" : "ipv6-icmp"
    let comment = "-m comment --comment \"portmap:chain\""
    #expect(
      layout.chain(at: place).entries.map(\.text) == [
        "\(place.family.rawValue) filter -A PORTMAP-TO -d \(block) \(comment) -g \(place.name)",
        "\(place.family.rawValue) filter -I PORTMAP-FROM -s \(block) \(comment) -j \(place.name)",
        "\(place.family.rawValue) filter -A PORTMAP-FROM -p \(icmp) \(comment) -j \(place.name)",
      ]
    )
  }

  @Test func bridge() throws {
    let subnet = try Samples.subnet("172.16.42.1/24")
    let rules = layout.rules(forBridge: "portmap0", subnet)
    let change = RuleChange.adding(rules, to: [], layout, serial: 1)
    #expect(
      change.installText(.v4) == """
        *raw
        :PORTMAP-RAW - [0:0]
        -A PORTMAP-RAW -i lo -m comment --comment "portmap:chain" -j RETURN
        -I PREROUTING 1 -m comment --comment "portmap:chain" -j PORTMAP-RAW
        -A PORTMAP-RAW -d 172.16.42.0/24 ! -i portmap0 -m comment --comment "portmap:bridge" -j DROP
        -A PORTMAP-RAW ! -s 172.16.42.0/24 -i portmap0 -m addrtype --dst-type LOCAL -m comment --comment "portmap:bridge" -j DROP
        COMMIT
        *nat
        :PORTMAP-POST - [0:0]
        -I POSTROUTING 1 -m comment --comment "portmap:chain" -j PORTMAP-POST
        -A PORTMAP-POST -s 172.16.42.0/24 ! -o portmap0 -m comment --comment "portmap:bridge" -j MASQUERADE
        COMMIT
        *filter
        :PORTMAP-FWD - [0:0]
        -I FORWARD 1 -m comment --comment "portmap:chain" -j PORTMAP-FWD
        -I PORTMAP-FWD 1 ! -s 172.16.42.0/24 -i portmap0 ! -o portmap0 -m comment --comment "portmap:bridge" -j DROP
        -A PORTMAP-FWD -i portmap0 -m comment --comment "portmap:bridge" -j ACCEPT
        -A PORTMAP-FWD -o portmap0 -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment "portmap:bridge" -j ACCEPT
        COMMIT

        """
    )
    #expect(
      change.installText(.v6) == """
        *filter
        :PORTMAP-IN - [0:0]
        :PORTMAP-FWD - [0:0]
        -A PORTMAP-IN -d ::1/128 -i lo -m comment --comment "portmap:chain" -j ACCEPT
        -I INPUT 1 -m comment --comment "portmap:chain" -j PORTMAP-IN
        -I FORWARD 1 -m comment --comment "portmap:chain" -j PORTMAP-FWD
        -I PORTMAP-FWD 1 -i portmap0 ! -o portmap0 -m comment --comment "portmap:bridge" -j DROP
        -I PORTMAP-IN 1 ! -s fe80::/10 -i portmap0 -m addrtype --dst-type LOCAL -m comment --comment "portmap:bridge" -j DROP
        COMMIT

        """
    )
  }

  /// Another state folder's chains and comments carry its tag, and are not this folder's.
  @Test func tags() throws {
    let tagged = ChainLayout(tag: "3fa9c1")
    let mapping = try Samples.mapping("a0000001", "8080:80", proxy: false)
    #expect(
      tagged.rules(for: mapping).map(\.text) == [
        "4 nat -A PORTMAP-3fa9c1-TCP-31 -p tcp -m tcp --dport 8080 -m comment --comment"
          + " \"portmap-3fa9c1:a0000001\" -j DNAT --to-destination 10.0.0.2:80"
      ]
    )
    for name in [
      "PORTMAP", "PORTMAP-TCP", "PORTMAP-TCP-31", "PORTMAP-IN-UDP-0", "PORTMAP-POST", "PORTMAP-FROM",
      "PORTMAP-BACKEND-02",
    ] {
      #expect(layout.owns(chain: name) && !tagged.owns(chain: name), "\(name)")
    }
    for name in ["PORTMAP-3fa9c1", "PORTMAP-3fa9c1-TCP-31"] {
      #expect(tagged.owns(chain: name) && !layout.owns(chain: name), "\(name)")
    }
    for name in ["PREROUTING", "PORTMAPPER", "DOCKER", "PORTMAP-3fa9c2-TCP"] {
      #expect(!tagged.owns(chain: name), "\(name)")
    }
    #expect(!layout.owns(chain: "PORTMAPPER"))
  }

  /// iptables takes no chain name of more than 28 characters.
  @Test func chainNamesFit() {
    let ports = PortRange(first: 65535, count: 1) ?? .automatic
    for trunk in ChainLayout.Trunk.allCases {
      for transport in Transport.allCases {
        #expect(ChainLayout(tag: "3fa9c1").place(trunk, .v6, transport, ports).place.name.utf8.count <= 28)
      }
    }
    let backend = ChainLayout(tag: "3fa9c1").place(ofBackend: .loopbackV6)
    #expect(backend.name.utf8.count <= 28)
  }
}

@Suite struct RuleTests {
  @Test func parts() throws {
    let rule = try #require(Rule(text: "6 filter -I PORTMAP-IN -s fe80::/10 -j ACCEPT"))
    #expect(rule.family == .v6)
    #expect(rule.table == .filter)
    #expect(rule.position == .first)
    #expect(rule.chain == "PORTMAP-IN")
    #expect(rule.match == "-s fe80::/10 -j ACCEPT")
    #expect(rule.begins(with: rule.place.prefixes))
    #expect(!rule.begins(with: ChainPlace(family: .v4, table: .filter, name: "PORTMAP-IN").prefixes))
    #expect(!rule.begins(with: ChainPlace(family: .v6, table: .filter, name: "PORTMAP").prefixes))
    #expect(Rule(.v6, .filter, .first, "PORTMAP-IN", "-s fe80::/10 -j ACCEPT") == rule)
  }

  @Test(arguments: [
    "", "4", "4 nat -A CHAIN", "5 nat -A CHAIN -j ACCEPT", "4 mangle -A CHAIN -j ACCEPT",
    "4 nat -D CHAIN -j ACCEPT",
    "4 nat -A CHAIN -j ACCEPT\n-F", "nat -A CHAIN -j ACCEPT", "4 nat -A CHAIN ", "4 nat -A CHAIN  ",
    "4 nat -A  -j ACCEPT",
  ])
  func refused(_ text: String) {
    #expect(Rule(text: text) == nil)
  }
}
