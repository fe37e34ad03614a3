import Testing

/// Flows older than the mapping, or than the unmapping, go where the mappings of now say.
@Suite struct FlowTests {
  typealias Address = Topology.Address

  @Test func aSenderThatNeverPauses() throws {
    try withServers { topology in
      // Rules of any kind, so that the flow is tracked from its first datagram.
      try topology.portmap("map", "9999:80", "--to", Address.web)
      let first = try topology.outside.startFlooding(Address.host, 8080, until: "web", timeout: 5)
      #expect(first.line(timeout: 0.3) == nil)
      try topology.portmap("map", "8080:80/udp", "--to", Address.web)
      let answer = Answer(first.wait())
      #expect(answer.name == "web" && answer.peer == Address.outside, "\(answer)")
      // The next one starts with the first backend and ends with the second.
      let second = try topology.outside.startFlooding(Address.host, 8080, until: "other", timeout: 5)
      #expect(second.line()?.hasPrefix("web ") == true)
      try topology.portmap("unmap", "8080/udp")
      try topology.portmap("map", "8080:80/udp", "--to", Address.other)
      let end = second.wait()
      #expect(end.lines.last?.hasPrefix("other \(Address.outside) ") == true, "\(end)")
    }
  }

  @Test func anUnmappedFlowEnds() throws {
    try withServers { topology in
      try topology.portmap("map", "8080:80/udp", "9999:80", "--to", Address.web)
      #expect(try topology.outside.ask(.udp, Address.host, 8080, "--bind", "192.0.2.2/7777").name == "web")
      try topology.portmap("unmap", "8080/udp")
      #expect(
        try topology.outside.ask(.udp, Address.host, 8080, "--bind", "192.0.2.2/7777").verdict == .refused
      )
    }
  }

  @Test func nothingIsTrackedAfterUnmap() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      try topology.web.serve(.udp, Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80/tcp+udp", "9999:80", "--to", Address.web)
      let client = try topology.outside.startAsking(.tcp, Address.host, 8080, timeout: 5)
      #expect(client.line(timeout: 0.2) == nil)
      #expect(try topology.outside.ask(.udp, Address.host, 8080).name == "web")
      let list = { (transport: Transport) in
        try topology.host.exec("conntrack", "-L", "-p", transport.rawValue, "--orig-port-dst", "8080").lines
      }
      #expect(try list(.tcp).count == 1)
      #expect(try list(.udp).count == 1)
      try topology.portmap("unmap", "8080", "8080/udp")
      #expect(try list(.tcp).isEmpty)
      #expect(try list(.udp).isEmpty)
    }
  }

  @Test func aSYNToAReservedPort() throws {
    try withServers { topology in
      try topology.portmap("map", "9999:80", "--to", Address.web)
      try topology.portmap("alloc", "8080")
      let client = try topology.outside.startAsking(.tcp, Address.host, 8080, timeout: 6)
      #expect(client.line(timeout: 0.3) == nil)
      try topology.portmap("map", "8080:80", "--to", Address.web)
      // By DNAT: the proxy would show the bridge's address.
      let answer = Answer(client.wait())
      #expect(answer.name == "web" && answer.peer == Address.outside, "\(answer)")
    }
  }

  @Test func datagramsToAReservedPort() throws {
    try withServers { topology in
      try topology.portmap("map", "9999:80", "--to", Address.web6)
      try topology.portmap("alloc", "8080/udp")
      let client = try topology.outside.startFlooding(Address.host6, 8080, until: "web", timeout: 5)
      #expect(client.line(timeout: 0.3) == nil)
      try topology.portmap("map", "8080:80/udp", "--to", Address.web6)
      let answer = Answer(client.wait())
      #expect(answer.name == "web" && answer.peer == Address.outside6, "\(answer)")
    }
  }

  @Test func strangersFlowsSurvive() throws {
    try withTopology { topology in
      try topology.other.serve(.udp, Address.other, "8080", name: "other")
      try topology.outside.serve(.udp, Address.outside, "8080", name: "outside")
      let portmap = topology.portmap
      try portmap("map", "9999:80", "--to", Address.web)
      // Through the host and from the host, to the same port number elsewhere.
      #expect(try topology.outside.ask(.udp, Address.other, 8080).name == "other")
      #expect(try topology.host.ask(.udp, Address.outside, 8080).name == "outside")
      let before = try flows(topology)
      #expect(before == [Address.other, Address.outside])
      try portmap("map", "8080:80/udp", "--to", Address.web)
      #expect(try flows(topology) == before)
      try portmap("unmap", "8080/udp")
      #expect(try flows(topology) == before)
    }
  }

  @Test func aRangesFlowsEnd() throws {
    try withServers { topology in
      try topology.portmap("map", "8000-8999:8000-8999/udp", "9999:80", "--to", Address.web)
      try topology.outside.exec(Tools.probe, "spray", Address.host, "8000-8999", "--bind", "192.0.2.2/7777")
      #expect(try sprayed(topology) == 1000)
      try topology.portmap("unmap", "8000-8999/udp")
      #expect(try sprayed(topology) == 0)
    }
  }

  /// 60,000 flows to the same address, most of them not the mapping's: none of its deletions goes through all of them.
  @Test func aBusyRangeOfABusyHost() throws {
    try withServers { topology in
      try topology.portmap("map", "8000-8299:8000-8299/udp", "9000:80/udp", "--to", Address.web)
      try topology.host.setSysctl("net.netfilter.nf_conntrack_udp_timeout=600")
      let ports = "1024-61023"
      try topology.outside.exec(Tools.probe, "spray", Address.host, ports, "--bind", "192.0.2.2/7777")
      #expect(try sprayed(topology) == 60_000)
      try topology.portmap("unmap", "8000-8299/udp")
      #expect(try sprayed(topology) == 59_700)
      let list = try topology.host.exec("conntrack", "-L", "-p", "udp", "--orig-port-dst", "9000")
      #expect(list.lines.count == 1)
    }
  }

  /// A zone of conntrack's (CT in iptables) is part of what a flow is found by.
  @Test(arguments: ["--zone", "--zone-orig"])
  func aFlowInAZone(option: String) throws {
    try withServers { topology in
      try topology.host.exec(
        ["iptables", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "8080"]
          + ["-j", "CT", option, "5"]
      )
      try topology.portmap("map", "8080:80/udp", "9999:80", "--to", Address.web)
      try topology.outside.exec(Tools.probe, "spray", Address.host, "8080", "--bind", "192.0.2.2/7777")
      #expect(try sprayed(topology) == 1)
      try topology.portmap("unmap", "8080/udp")
      #expect(try sprayed(topology) == 0)
    }
  }

  /// The kernel's refusal is told, and is no reason to leave the mapping half removed.
  @Test func aKernelThatDeletesNoFlows() throws {
    try withServers { topology in
      try topology.portmap("map", "8080:80/udp", "9999:80", "--to", Address.web)
      #expect(try topology.outside.ask(.udp, Address.host, 8080).name == "web")
      var refused = topology.portmap
      // Nothing else of portmap's own receives so.
      refused.prefix = [
        "strace", "-qq", "-o", "/dev/null", "-e", "trace=recvfrom", "-e", "inject=recvfrom:error=EPERM",
      ]
      let outcome = try refused("unmap", "8080/udp")
      let words =
        "cannot delete tracked connections: recv: operation not permitted; they go on as they did"
      #expect(outcome.stderr == "portmap: warning: \(words)\n")
      #expect(try topology.portmap.list().mappings.map(\.hostPort) == [9999])
    }
  }

  /// How many flows from one source port are tracked.
  private func sprayed(_ topology: Topology) throws -> Int? {
    let script = "conntrack -L -p udp --orig-port-src 7777 2>/dev/null | wc -l"
    return Int(try topology.host.exec("sh", "-c", script).lines[0])
  }

  /// The destinations of tracked flows to port 8080.
  private func flows(_ topology: Topology) throws -> Set<String> {
    let table = try topology.host.exec("conntrack", "-L", "-p", "udp", "--orig-port-dst", "8080")
    return Set(table.lines.compactMap { $0.firstMatch(of: /dst=(\S+)/).map { String($0.1) } })
  }
}
