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

/// What was taken over is as it was when the command that took it fails or dies.
@Suite struct UnfinishedTakeoverTests {
  typealias Address = Topology.Address

  /// A reserved port answers nobody, and a lent one its server can have.
  private func expectReserved(
    _ topology: Topology,
    _ port: Int,
    at location: SourceLocation = #_sourceLocation
  )
    throws
  {
    let answer = try topology.outside.ask(.tcp, Address.host, port, timeout: 0.3)
    #expect(answer.verdict == .silent, "\(answer)", sourceLocation: location)
    #expect(
      try topology.host.bind(.tcp, "::", port)?.contains("EADDRINUSE") == true,
      sourceLocation: location
    )
  }

  private func expectLent(_ topology: Topology, _ port: Int, at location: SourceLocation = #_sourceLocation)
    throws
  {
    let problem = try topology.host.bind(.tcp, "::", port, "--reuse")
    #expect(problem == nil, sourceLocation: location)
    #expect(
      try topology.host.bind(.tcp, "::", port)?.contains("EADDRINUSE") == true,
      sourceLocation: location
    )
  }

  @Test func aTakenPortBesideIt() throws {
    try withTopology { topology in
      try topology.host.serve(.tcp, "0.0.0.0", "9090", name: "stranger")
      try topology.portmap("alloc", "--lend", "8080")
      try topology.portmap("map", "--proxy-only", "8080:80", "9090:90", "--to", Address.web, status: 3)
      try expectLent(topology, 8080)
      try topology.portmap("check")
    }
  }

  @Test func aResultThatCannotBeWritten() throws {
    try withTopology { topology in
      try topology.portmap("alloc", "8181", "8182/udp")
      try topology.portmap("alloc", "--lend", "8080")
      try topology.portmap.shell(
        "\"$0\" map --proxy-only 8181:80 8182:80/udp 8080:80 --to \(Address.web) > /dev/full",
        status: 1
      )
      try expectReserved(topology, 8181)
      try expectLent(topology, 8080)
      #expect(try topology.portmap.list().reservations.map(\.port).sorted() == [8080, 8181, 8182])
      try topology.portmap("check")
    }
  }

  /// At the rename that commits, the new process serves already.
  @Test func aDeathAtTheCommit() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("alloc", "8181")
      try portmap("alloc", "--lend", "8080")
      var dying = portmap
      dying.prefix = [
        "strace", "-qq", "-o", "/dev/null", "-e", "trace=renameat", "-e",
        "inject=renameat:signal=SIGKILL:when=2",
      ]
      try dying("map", "--proxy-only", "8181:80", "8080:80", "--to", Address.web, status: 137)
      try portmap("unmap", "--if-exists", "1")
      try expectReserved(topology, 8181)
      try expectLent(topology, 8080)
      try portmap("check")
    }
  }

  @Test func theServerOfALentPortIsAConflict() throws {
    try withTopology { topology in
      try topology.portmap("alloc", "--lend", "8080")
      try topology.host.serve(.tcp, "0.0.0.0", "8080", name: "server")
      try topology.portmap("map", "--proxy-only", "8080:80", "--to", Address.web, status: 3)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "server")
      try topology.portmap("check")
    }
  }

  /// Takes the filters off a process's TCP sockets, through copies of them (pidfd_getfd(2)).
  private static let detachFilters = """
    import ctypes, os, socket, struct, sys
    libc = ctypes.CDLL(None, use_errno=True)
    pid = int(sys.argv[1])
    pidfd = os.pidfd_open(pid)
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        copy = libc.syscall(438, pidfd, int(name), 0)
        if copy < 0 or not os.readlink(f"/proc/self/fd/{copy}").startswith("socket:"):
            continue
        held = socket.socket(fileno=copy)
        if held.family == socket.AF_INET6 and held.type & socket.SOCK_STREAM:
            held.setsockopt(socket.SOL_SOCKET, 27, 0)
            count += 1
    sys.exit(0 if count == 1 else 1)
    """

  /// check knows what a held socket should be like, and repair makes it so.
  @Test func anAlteredSocketIsADifference() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("alloc", "8181")
      try portmap("alloc", "--lend", "8080")
      let pid = try #require(try portmap.list().reservations.first { $0.port == 8181 }?.pid)
      try topology.host.exec("python3", "-c", Self.detachFilters, "\(pid)")
      let check = try portmap("check", status: 1)
      #expect(check.stdout.contains("8181: it is reserved, but"), "\(check)")
      try portmap("repair")
      try expectReserved(topology, 8181)
      try portmap("check")
    }
  }
}
