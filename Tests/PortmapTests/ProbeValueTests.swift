import CLinux
import Glibc
import Testing

@testable import portmap

/// What a probe reads, and what it makes of it.
@Suite struct ProbeValueTests {
  private func backend(_ spec: String) throws -> BackendPorts {
    BackendPorts(try Samples.mapping("a0000001", spec, to: "172.16.42.2"))
  }

  @Test func askedPorts() throws {
    #expect(try backend("8080:80").asked == [80])
    #expect(try backend("1000-1255:2000-2255").asked == Array(2000...2255))
    let many = try backend("10000-19999:20000-29999").asked
    #expect(many.count == 256 && many.first == 20000 && many.last == 29999)
    #expect(zip(many, many.dropFirst()).allSatisfy { $1 > $0 && $1 - $0 < 41 })
    #expect(try backend("1-65535:1-65535").asked.last == 65535)
  }

  @Test func portsWithOneReasonAreOneFault() throws {
    let refused = BackendFault.Reason.refused(listening: [])
    let faults = try backend("8000-8005:80-85").faults([refused, refused, nil, refused, .silent, .silent])
    #expect(
      faults.map { "\(Difference.backend($0))" } == [
        "172.16.42.2:80-81: connection refused (nothing listens there)",
        "172.16.42.2:83: connection refused (nothing listens there)",
        "172.16.42.2:84-85: no answer in 2 seconds (a firewall in the guest drops it)",
      ]
    )
  }

  /// A kernel without sctp says nothing about the backend.
  @Test func sctpWithoutTheKernel() throws {
    let faults = try backend("8080:80/sctp").faults([.notAsked(errno: EPROTONOSUPPORT)])
    #expect(faults.map(\.isNote) == [true])
    #expect(faults.first?.subject == "172.16.42.2:80/sctp")
  }

  @Test func listeningSockets() throws {
    let table = """
        sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
         0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
         1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
         2: 0202A8C0:0050 0302A8C0:C000 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0
      """
    let sockets = ListeningSockets.parse(Array(table.utf8), .tcp)
    #expect(sockets.map { "\(SocketAddress($0.ip, port: $0.port))" } == ["127.0.0.1:80", "0.0.0.0:8080"])
    let table6 = """
      head
      0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A x
      1: B80D0120000000000000000002000000:0051 00000000000000000000000000000000:0000 0A x
      """
    let sockets6 = ListeningSockets.parse(Array(table6.utf8), .tcp)
    #expect(sockets6.map(\.ip.description) == ["::1", "2001:db8::2"])
    #expect(sockets[1].serves(try Samples.address("10.0.0.2")) && !sockets[0].serves(.anyV4))
    for junk in ["", "head\n0: 01:0050 x 0A", "head\n0: 0100007F0050 x 0A", "head\n0: ZZ00007F:0050 x 0A"] {
      #expect(ListeningSockets.parse(Array(junk.utf8), .tcp).isEmpty)
    }
  }

  @Test func reversePathCounter() {
    let table = "TcpExt: A IPReversePathFilter B\nTcpExt: 1 42 3\nIpExt: X\nIpExt: 9\n"
    #expect(ReversePath.dropped(in: Array(table.utf8)) == 42)
    #expect(ReversePath.dropped(in: Array("TcpExt: A\nTcpExt: 1\n".utf8)) == nil)
    #expect(ReversePath.dropped(in: Array("TcpExt: IPReversePathFilter\nTcpExt:\n".utf8)) == nil)
    #expect(ReversePath.dropped(in: []) == nil)
  }

  @Test func guestsTables() throws {
    let trie = """
      Local:
        +-- 0.0.0.0/0 2 0 2
           |-- 10.99.0.2
              /32 host LOCAL
           |-- 10.99.0.255
              /32 link BROADCAST
      """
    func has(_ address: String, _ table: String) throws -> Bool {
      Guest.has(try Samples.address(address), in: Array(table.utf8))
    }
    #expect(try has("10.99.0.2", trie) && !has("10.99.0.255", trie) && !has("0.99.0.2", trie))
    let six = "fd000099000000000000000000000002 02 40 00 80     eth0\n"
    #expect(try has("fd00:99::2", six) && !has("fd00:99::20", six))
    let arp = "IP address HW type Flags HW address Mask Device\n10.99.0.1 0x1 0x2 0a:00:27:00:00:0f * eth0\n"
    let host = try Samples.address("10.99.0.1")
    #expect(Guest.knows(host, [10, 0, 0x27, 0, 0, 15], in: Array(arp.utf8)))
    #expect(!Guest.knows(host, [10, 0, 0x27, 0, 0, 16], in: Array(arp.utf8)))
    let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    let usual = routes + "eth0\t00000000\t0100630A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    #expect(Guest.gateways(in: Array(usual.utf8)) == [host])
    #expect(Guest.gateways(in: Array(routes.utf8)).isEmpty)
  }

  @Test func messagesOfRoutes() throws {
    let route = try RouteLookup().route(to: .loopbackV4)
    #expect(route.link == "lo" && route.isLocal && route.gateway == nil)
    #expect(try RouteLookup().route(to: .loopbackV6).isLocal)
    #expect(try RouteLookup().neighbours().allSatisfy { !$0.link.isEmpty })
    #expect(try RouteLookup().hardwareAddress(of: "lo") == [0, 0, 0, 0, 0, 0])
    // What is no such message, or a short one.
    for count in [0, 3, 11, 12, 13] {
      let message = NetlinkMessage(
        type: UInt16(RTM_NEWROUTE),
        flags: 0,
        sequence: 1,
        payload: Array(repeating: 0, count: count)[...]
      )
      #expect(Route(message) == nil && Neighbour(message) == nil)
    }
  }

  /// Everything has words that fit a line, and what a person can do.
  @Test func wordsForAll() throws {
    let address = try Samples.address("172.16.42.2")
    let network = try Samples.subnet("172.16.42.1/24")
    let name = try #require(NamespaceName("web"))
    let reasons: [BackendFault.Reason] = [
      .noRoute(networks: [network]), .noRoute(networks: []), .noNeighbour(link: "br0"),
      .otherLink("eth0", owner: "br0"), .refused(listening: []),
      .refused(listening: [80]),
      .listensOnLoopback(.loopbackV4), .refusedByFirewall, .rejected, .silent,
      .silentBehind(gateway: address, link: "eth0"), .dropsReversePath(["br1"]), .dropsReversePath([]),
      .noWayBack(.noRoute), .noWayBack(.otherRoute),
      .noWayBack(.unknown), .forwardingOff(link: "br0"),
      .neighboursAnsweredDirectly(network), .notAsked(errno: EPERM),
      .namespaceClosed(NamespaceError(name: name, problem: .notPermitted)),
      .sampled(asked: 256),
    ]
    for reason in reasons {
      let ports = PortRange(first: 80, count: 1)
      let fault = BackendFault(address: address, ports: ports, transport: .tcp, reason: reason)
      #expect(fault.problem.first?.isUppercase == false && !fault.problem.hasSuffix("."), "\(fault.problem)")
      #expect("\(Difference.backend(fault))".hasPrefix("172.16.42.2:80: "))
      #expect(fault.remedy?.contains("  ") != true)
    }
    #expect(Set(reasons.map { String("\($0)".prefix { $0 != "(" }) }).count == 16)
  }
}

/// Rules of others that drop what is forwarded.
@Suite struct ForwardDropTests {
  private func found(_ rules: [String]) throws -> [String] {
    let text =
      "*filter\n:FORWARD ACCEPT [0:0]\n:MINE - [0:0]\n" + rules.map { "-A \($0)\n" }.joined() + "COMMIT\n"
    let drops = ForwardDrops(saved: SavedRules(text), layout: ChainLayout(tag: ""))
    return drops.dropping(try Samples.mapping("a0000001", "8080:80"), link: "br0").map {
      "\($0.chain) \($0.text)"
    }
  }

  @Test(arguments: [
    "FORWARD -j DROP", "FORWARD -d 10.0.0.2/32 -j DROP", "FORWARD -d 10.0.0.0/24 -p tcp -j DROP",
    "FORWARD -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset", "FORWARD -o br0 -j DROP",
    "FORWARD -p tcp -m multiport --dports 22,70:90 -m comment --comment \"no -s web\" -j DROP",
    "FORWARD -m conntrack --ctstate NEW,INVALID -j DROP",
  ])
  func dropping(_ rule: String) throws {
    #expect(try found([rule, "FORWARD -j PORTMAP-FWD"]).count == 1)
    #expect(try found(["FORWARD -j PORTMAP-FWD", rule]).isEmpty)
    #expect(
      try found(["FORWARD -p tcp -j MINE", rule.replacing("FORWARD", with: "MINE")]).first?.hasPrefix("MINE")
        ?? false
    )
  }

  @Test(arguments: [
    "FORWARD -d 10.0.0.3/32 -j DROP", "FORWARD -p udp -j DROP", "FORWARD -p tcp -m tcp --dport 81 -j DROP",
    "FORWARD -o br1 -j DROP", "FORWARD -s 192.0.2.0/24 -j DROP", "FORWARD ! -d 10.0.0.2/32 -j DROP",
    "FORWARD -m conntrack --ctstate INVALID -j DROP", "FORWARD -m set --match-set bad src -j DROP",
    "FORWARD -d 10.0.0.2/32 -j ACCEPT", "FORWARD -i br1 -j DROP", "FORWARD -d nonsense -j DROP", "FORWARD -j",
  ])
  func others(_ rule: String) throws {
    #expect(try found([rule]).isEmpty)
  }
}
