import Foundation
import Testing

/// A reserved port is held for real, and nobody is answered on it.
@Suite struct AllocTests {
  typealias Address = Topology.Address

  @Test(arguments: Transport.allCases)
  func nobodyElseCanTakeIt(_ transport: Transport) throws {
    try withTopology { topology in
      let port = try topology.portmap.allocate("0\(transport.suffix)")
      #expect((49153...65535).contains(port))
      for address in ["0.0.0.0", "127.0.0.1", Address.host, "::", "::1", Address.host6] {
        let refusal = try topology.host.bind(transport, address, port)
        #expect(refusal?.contains("EADDRINUSE") == true, "\(address): \(refusal ?? "bound")")
        let sharing = try topology.host.bind(transport, address, port, "--reuse")
        #expect(sharing?.contains("EADDRINUSE") == true, "\(address), reusing: \(sharing ?? "bound")")
      }
      #expect(try topology.host.bind(transport, "::", port, "--v6only")?.contains("EADDRINUSE") == true)
      // The other protocol's port of the same number is another one.
      #expect(try topology.host.bind(transport == .tcp ? .udp : .tcp, "::", port) == nil)
    }
  }

  @Test func hostsWhereSocketsAreOfOneFamily() throws {
    try withHost { portmap, host in
      try host.setSysctl("net.ipv6.bindv6only=1")
      try portmap("alloc", "8080/tcp+udp")
      for transport in Transport.allCases {
        for address in ["0.0.0.0", "::", "127.0.0.1", "::1"] {
          #expect(try host.bind(transport, address, 8080, "--v6only")?.contains("EADDRINUSE") == true)
        }
      }
    }
  }

  @Test(arguments: Transport.allCases)
  func nobodyIsAnswered(_ transport: Transport) throws {
    try withTopology { topology in
      try topology.portmap("alloc", "8080\(transport.suffix)")
      for (client, address) in [
        (topology.outside, Address.host), (topology.outside, Address.host6), (topology.host, "127.0.0.1"),
        (topology.host, "::1"), (topology.web, Address.bridge),
      ] {
        let answer = try client.ask(transport, address, 8080, timeout: 0.3)
        #expect(answer.verdict == .silent, "\(answer)")
      }
      #expect(try topology.host.rules() + topology.host.rules6() == [])
    }
  }

  @Test func printsBareNumbers() throws {
    try withHost { portmap, _ in
      #expect(try portmap("alloc", "8080", "8081/udp", "127.0.0.1:8082").stdout == "8080\n8081\n8082\n")
      #expect(Set(try portmap("alloc", "8083/tcp+udp").lines) == ["8083"])
      let reservations = try portmap.list().reservations
      #expect(reservations.map(\.port).sorted() == [8080, 8081, 8082, 8083, 8083])
      #expect(reservations.first { $0.port == 8082 }?.hostIP == "127.0.0.1")
      #expect(reservations.first { $0.port == 8080 }?.hostIP == "*")
      #expect(Set(reservations.filter { $0.port == 8083 }.map(\.protocol)) == ["tcp", "udp"])
      let array = try JSONSerialization.jsonObject(
        with: Data(try portmap("alloc", "--json", "8084").stdout.utf8)
      )
      #expect((array as? [[String: Any]])?.first?["port"] as? Int == 8084)
    }
  }

  @Test func goesOnFromTheLastOne() throws {
    try withHost { portmap, _ in
      var given: [Int] = []
      for _ in 0..<3 { given.append(try portmap.allocate("--range", "50000-50004")) }
      #expect(zip(given, given.dropFirst()).allSatisfy { 50000 + ($0 - 50000 + 1) % 5 == $1 }, "\(given)")
      try portmap("unmap", "\(given[0])", "\(given[1])")
      // A released port is not given again as long as there are others.
      let rest = [
        try portmap.allocate("--range", "50000-50004"), try portmap.allocate("--range", "50000-50004"),
      ]
      #expect(Set(rest).isDisjoint(with: given))
      #expect(try portmap.allocate("--range", "50000-50004") == given[0])
      #expect(try portmap.allocate("--range", "50000-50004") == given[1])
      let outcome = try portmap("alloc", "--range", "50000-50004", status: 3)
      #expect(outcome.stderr.contains("50000-50004"), "\(outcome)")
    }
  }

  @Test func automaticChoiceLeavesWhatTheCallNames() throws {
    try withHost { portmap, host in
      #expect(try portmap("alloc", "--range", "50000-50001", "0", "50000").stdout == "50001\n50000\n")
      #expect(try portmap("alloc", "8000-8001", "8000", "8001/udp").stdout == "8001\n8000\n8001\n")
      // Free for one protocol only is not free for both.
      try host.serve(.udp, "127.0.0.1", "51000", name: "stranger")
      #expect(Set(try portmap("alloc", "--range", "51000-51001", "0/tcp+udp").lines) == ["51001"])
    }
  }

  @Test func protocolsAreCountedApart() throws {
    try withHost { portmap, _ in
      #expect(try portmap.allocate("--range", "50000-50000") == 50000)
      #expect(try portmap.allocate("--range", "50000-50000", "0/udp") == 50000)
      try portmap("alloc", "--range", "50000-50000", "0/udp", status: 3)
    }
  }

  @Test func stepsOverAStranger() throws {
    try withHost { portmap, host in
      try host.serve(.tcp, "127.0.0.1", "8001", name: "stranger")
      #expect(try portmap("alloc", "8000-8002").stdout == "8000\n")
      #expect(try portmap("alloc", "8000-8002").stdout == "8002\n")
      let exhausted = try portmap("alloc", "8000-8002", status: 3)
      #expect(exhausted.stderr.contains("8000-8002"), "\(exhausted)")
      #expect(try portmap("alloc", "8000-8002/udp").lines.count == 1)
    }
  }

  @Test func skipsReservedLocalPorts() throws {
    try withHost { portmap, host in
      try host.setSysctl("net.ipv4.ip_local_reserved_ports=50000,50002")
      #expect(try portmap.allocate("--range", "50000-50002") == 50001)
      try portmap("alloc", "--range", "50000-50002", status: 3)
      #expect(try portmap.allocate("50000") == 50000)
      #expect(try portmap.allocate("50000-50002") == 50002)
    }
  }

  @Test func severalAtOnce() throws {
    try withHost { portmap, host in
      let ports = try portmap("alloc", "-c", "3").lines.compactMap { Int($0) }
      #expect(Set(ports).count == 3)
      #expect(try host.processes().count == 1)
      let both = try portmap("alloc", "-c", "2", "8000-8003", "0/udp").lines.compactMap { Int($0) }
      #expect(both.count == 4 && Set(both.filter { (8000...8003).contains($0) }).count == 2, "\(both)")
      try portmap("alloc", "-c", "3", "8000-8003", status: 3)
      #expect(try portmap.list().reservations.count == 7)
    }
  }

  @Test func connectionsOfAnEarlierServerAreNoObstacle() throws {
    try withTopology { topology in
      let server = try topology.host.serve(.tcp, "0.0.0.0", "8080", name: "host", mode: "farewell")
      #expect(
        try topology.outside.ask(.tcp, Address.host, 8080, "--size", "1", "--read-first").text == "goodbye"
      )
      #expect(server.line() == "received 1")
      server.kill()
      // The server closed first: its end stays in TIME_WAIT (06).
      #expect(try topology.host.exec("cat", "/proc/net/tcp").stdout.contains(":1F90 020200C0:"))
      #expect(try topology.portmap("alloc", "8080").stdout == "8080\n")
    }
  }

  @Test func theQueueIsAsLongAsTheKernelAllows() throws {
    try withHost { portmap, host in
      try host.setSysctl("net.core.somaxconn=77")
      try portmap("alloc", "8080")
      let fields = try host.exec("ss", "-tlnH", "sport = :8080").lines[0].split(separator: " ")
      #expect(fields[2] == "77", "\(fields)")
    }
  }

  @Test func theSamePortOnSeveralAddresses() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let port = try portmap.allocate("--host-ip", Address.host, "--host-ip", "127.0.0.1", "--host-ip", "::1")
      #expect(Set(try portmap.list().reservations.map(\.hostIP)) == [Address.host, "127.0.0.1", "::1"])
      #expect(Set(try portmap.list().reservations.map(\.port)) == [port])
      for address in [Address.host, "127.0.0.1", "::1"] {
        #expect(try topology.host.bind(.tcp, address, port)?.contains("EADDRINUSE") == true)
      }
      #expect(try topology.host.bind(.tcp, Address.bridge, port) == nil)
      try portmap("unmap", "127.0.0.1:\(port)")
      #expect(try topology.host.bind(.tcp, "127.0.0.1", port) == nil)
      // One of them taken: the number is no good for the others either.
      try topology.host.serve(.tcp, Address.bridge, "50000", name: "stranger")
      #expect(
        try portmap.allocate(
          "--range",
          "50000-50001",
          "--host-ip",
          Address.bridge,
          "--host-ip",
          Address.host
        ) == 50001
      )
    }
  }
}
