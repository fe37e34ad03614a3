import Testing

@testable import portmap

@Suite struct FlowsTests {
  private func filter(
    _ ports: ClosedRange<UInt16>,
    _ transport: Transport = .tcp,
    on host: String = "*"
  ) throws -> FlowFilter {
    FlowFilter(
      transport: transport,
      hostIP: try #require(HostAddress(host)),
      first: ports.lowerBound,
      last: ports.upperBound
    )
  }

  private func flow(_ transport: Transport, _ address: String, _ port: UInt16) throws -> Flow {
    Flow(transport: transport, destination: try Samples.address(address), destinationPort: port)
  }

  @Test func filtersMatchPortTransportAndAddress() throws {
    let filters = FlowFilters([
      try filter(8000...8999), try filter(53...53, .udp, on: "192.0.2.1"),
      try filter(80...80, on: "0.0.0.0"), try filter(65535...65535, on: "::"),
    ])
    for (transport, address, port, matches) in [
      (Transport.tcp, "192.0.2.1", UInt16(8000), true), (.tcp, "::1", 8999, true),
      (.tcp, "192.0.2.1", 7999, false), (.tcp, "192.0.2.1", 9000, false), (.udp, "192.0.2.1", 8000, false),
      (.udp, "192.0.2.1", 53, true), (.udp, "192.0.2.2", 53, false), (.tcp, "192.0.2.1", 53, false),
      (.tcp, "192.0.2.2", 80, true), (.tcp, "::1", 80, false),
      (.tcp, "::1", 65535, true), (.tcp, "127.0.0.1", 65535, false),
    ] {
      #expect(
        filters.matches(try flow(transport, address, port)) == matches,
        "\(transport) \(address) \(port)"
      )
    }
    #expect(!filters.isEmpty)
    #expect(FlowFilters([]).isEmpty)
  }

  @Test func allPorts() throws {
    let filters = FlowFilters([try filter(1...65535, .udp)])
    for port: UInt16 in [1, 255, 256, 32768, 65535] {
      #expect(filters.matches(try flow(.udp, "192.0.2.1", port)))
    }
    #expect(!filters.matches(try flow(.udp, "192.0.2.1", 0)))
  }

  /// Lines of /proc/net/nf_conntrack: the destination port of the first tuple counts, that of the replies does not.
  @Test(arguments: [
    (
      "ipv4     2 udp      17 29 src=10.99.0.1 dst=10.99.0.3 sport=5 dport=53 [UNREPLIED] src=10.99.0.3 dst=10.99.0.1 sport=53 dport=5 mark=0 zone=0 use=2\n",
      [UInt16(53)]
    ),
    (
      "ipv6     10 tcp      6 5 SYN_SENT src=2001:db8::9 dst=2001:db8::1 sport=6 dport=80 [UNREPLIED] src=2001:db8::1 dst=2001:db8::9 sport=80 dport=6 mark=0 zone=0 use=2\nipv4     2 tcp      6 5 SYN_SENT src=1.2.3.4 dst=1.2.3.5 sport=6 dport=5 zone-orig=6 [UNREPLIED] src=1.2.3.5 dst=1.2.3.4 sport=5 dport=6 mark=0 zone=0 use=2\n",
      [80, 5]
    ),
    ("ipv4     2 icmp     1 20 src=127.0.0.1 dst=127.0.0.1 type=8 code=0 id=5\n", []),
    ("", []), ("\n\n", []), ("dport=", []), ("dport=99999 dport=5", []), ("dport=-5", []),
  ])
  func portsOfTheList(text: String, ports: [UInt16]) throws {
    for port in [5, 6, 53, 80, 8080] as [UInt16] {
      let filters = FlowFilters([try filter(port...port)])
      #expect(filters.mayMatch(list: Array(text.utf8)) == ports.contains(port), "\(port)")
    }
  }

  @Test(arguments: [
    ("6.18.5", true), ("6.16.0-rc1", true), ("7.0", true), ("10.2-generic", true),
    ("6.15.11", false), ("6.1.0-28-amd64", false), ("5.15.0-generic", false), ("6", false), ("", false),
  ])
  func kernelsWhoseFileIsWhole(release: String, isWhole: Bool) {
    #expect(Flows.isFileWhole(release) == isWhole)
  }
}
