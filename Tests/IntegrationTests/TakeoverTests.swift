import Foundation
import Testing

/// `map` of a reserved port takes the socket over from its holder: the port is never free in between.
@Suite struct TakeoverTests {
  typealias Address = Topology.Address

  @Test(arguments: Transport.allCases)
  func itIsTheSameSocket(_ transport: Transport) throws {
    try withTopology { topology in
      try topology.web.serve(transport, Address.web, "80", name: "web")
      let portmap = topology.portmap
      try portmap("alloc", "8080\(transport.suffix)")
      let inodes = try topology.host.sockets(transport, 8080)
      #expect(inodes.count == 1)
      try portmap("map", "8080:80\(transport.suffix)", "--to", Address.web)
      #expect(try topology.host.sockets(transport, 8080) == inodes)
      let list = try portmap.list()
      #expect(list.reservations.isEmpty && list.mappings.map(\.hostPort) == [8080])
      #expect(try topology.host.processes().count == 1)
      #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.outside)
      #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
      try portmap("unmap", "8080\(transport.suffix)")
      #expect(try topology.host.sockets(transport, 8080).isEmpty)
    }
  }

  @Test func theOthersOfTheHolderStay() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let ports = try portmap("alloc", "-c", "3").lines.compactMap { Int($0) }
      try portmap("map", "\(ports[1]):80", "--to", Address.web)
      #expect(try portmap.list().reservations.map(\.port).sorted() == [ports[0], ports[2]].sorted())
      #expect(try topology.host.processes().count == 2)
      for port in ports { #expect(try topology.host.sockets(.tcp, port).count == 1) }
      try portmap("unmap", "\(ports[0])", "\(ports[2])")
      #expect(try topology.host.processes().count == 1)
    }
  }

  @Test func wholeRangesAreTakenOver() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      for port in 8000...8004 { try portmap("alloc", "\(port)/udp") }
      let inodes = try (8000...8004).map { try topology.host.sockets(.udp, $0) }
      try portmap("map", "8000-8006:9000-9006/udp", "--to", Address.web)
      #expect(try (8000...8004).map { try topology.host.sockets(.udp, $0) } == inodes)
      #expect(try portmap.list().reservations.isEmpty)
      #expect(try topology.host.processes().count == 1)
    }
  }

  @Test func onlyForTheSameAddresses() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("alloc", "8080", "127.0.0.1:8081")
      try portmap("map", "127.0.0.1:8080:80", "--to", Address.web, status: 3)
      try portmap("map", "192.0.2.1:8080:80", "--to", Address.web, status: 3)
      try portmap("map", "8081:80", "--to", Address.web, status: 3)
      #expect(try portmap.list().reservations.count == 2)
      try portmap("map", "127.0.0.1:8081:80", "--to", Address.web)
      #expect(try portmap.list().reservations.map(\.port) == [8080])
    }
  }

  @Test func aFailedMapLeavesTheReservation() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try topology.host.serve(.tcp, "0.0.0.0", "8081", name: "stranger")
      try portmap("alloc", "8080")
      let inodes = try topology.host.sockets(.tcp, 8080)
      let before = try topology.host.snapshot()
      try portmap("map", "8080:80", "8081:80", "--to", Address.web, status: 3)
      #expect(try topology.host.snapshot() == before)
      #expect(try topology.host.sockets(.tcp, 8080) == inodes)
      #expect(try portmap.list().reservations.map(\.port) == [8080])
      // Held as before: nobody is answered.
      #expect(try topology.outside.ask(.tcp, Address.host, 8080, timeout: 0.3).verdict == .silent)
    }
  }

  @Test func aDeepStateFolderIsNoObstacle() throws {
    // Longer than the 108 bytes of a Unix socket's address.
    try withHost { portmap, host in
      var deep = portmap
      deep.state += "/" + Array(repeating: "a-rather-long-name-for-a-folder", count: 5).joined(separator: "/")
      try FileManager.default.createDirectory(
        atPath: deep.state,
        withIntermediateDirectories: true,
        attributes: [.posixPermissions: 0o755]
      )
      try deep("alloc", "8080")
      let inodes = try host.sockets(.tcp, 8080)
      try deep("map", "8080:80", "--to", "10.99.0.2", "--proxy-only")
      #expect(try host.sockets(.tcp, 8080) == inodes)
      try deep("unmap", "--all")
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func aPortIsNeverFreeInBetween() throws {
    try withTopology { topology in
      try topology.portmap("alloc", "8080")
      // Tries to take the port, over and over, from before it changes hands until after that.
      let end = topology.folder + "/end"
      let bind = "\(Tools.probe) bind tcp 127.0.0.1 8080 --reuse"
      let thief = try topology.host.start([
        "sh", "-c",
        "echo begun; until [ -e \(end) ]; do why=$(\(bind) 2>&1) && echo stolen; done; echo \"$why\"",
      ])
      #expect(thief.line() == "begun")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try run(["touch", end])
      let outcome = thief.wait()
      #expect(outcome.lines.count == 2 && outcome.lines[1].contains("EADDRINUSE"), "\(outcome)")
    }
  }
}
