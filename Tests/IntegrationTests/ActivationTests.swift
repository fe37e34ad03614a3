import Foundation
import Testing

/// Sockets for a command, in systemd's manner, and ports that are lent to a server.
@Suite struct ActivationTests {
  typealias Address = Topology.Address

  @Test func whatTheCommandIsTold() throws {
    try withHost { portmap, _ in
      let script = """
        echo "$LISTEN_FDS $LISTEN_FDNAMES"; echo "$PORT $PORTMAP_PORTS"; [ $LISTEN_PID = $$ ] && echo mine
        for fd in 3 4 5 6; do readlink /proc/$$/fd/$fd || true; done
        """
      let outcome = try portmap("alloc", "8081/udp", "8080", "127.0.0.1:8082", "--", "sh", "-c", script)
      #expect(
        outcome.lines.map { $0.replacing(#/:\[\d+\]$/#, with: "") } == [
          "3 udp-8081:tcp-8080:tcp-8082", "8081 8081 8080 8082", "mine", "socket", "socket", "socket",
        ]
      )
      let several = try portmap("alloc", "-c", "2", "--", "sh", "-c", "echo $LISTEN_FDS $PORTMAP_PORTS")
      let numbers = several.stdout.split(whereSeparator: \.isWhitespace)
      #expect(numbers.count == 3 && numbers[0] == "2" && numbers[1] != numbers[2], "\(several)")
      #expect(try portmap.list().isEmpty)
    }
  }

  /// portmap's own proxy is a server that takes such sockets.
  @Test func theSocketsWork() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80-81", name: "web")
      let child = try topology.portmap.start([
        "alloc", "8080", "8081/udp", "127.0.0.1:8082", "--", Tools.portmap, "proxy", "10.99.0.2:80",
        "10.99.0.2:81",
        "10.99.0.2:81",
      ])
      for _ in 0..<3 { #expect(child.line() != nil) }
      for address in [Address.host, Address.host6] {
        #expect(try topology.outside.ask(.tcp, address, 8080).port == 80)
        #expect(try topology.outside.ask(.udp, address, 8081).port == 81)
        #expect(try topology.outside.ask(.tcp, address, 8082).verdict == .refused)
      }
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8082).port == 81)
      // Nobody else gets the port meanwhile, and everybody may afterwards.
      try topology.portmap("alloc", "8080", status: 3)
      child.signal(SIGTERM)
      #expect(child.wait().status == 0)
      #expect(try topology.portmap("alloc", "8080").stdout == "8080\n")
    }
  }

  /// A server as others write them (sd_listen_fds(3)): it asks itself on the port that it was told.
  private static let server = """
    import os, socket, sys, threading, time
    assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
    listener = socket.socket(fileno=3)
    def serve():
        while True: listener.accept()[0].sendall(str(os.getpid()).encode())
    threading.Thread(target=serve, daemon=True).start()
    for address in "127.0.0.1", "::1":
        with socket.create_connection((address, int(os.environ["PORT"])), 5) as client:
            assert client.recv(20) == str(os.getpid()).encode()
    print(os.environ["PORT"], flush=True)
    while not os.path.exists(sys.argv[1]): time.sleep(0.02)
    """

  @Test func fiftyJobsAtOnce() throws {
    try withHost { portmap, host in
      let go = portmap.state + "-go"
      let job = ["alloc", "--", "python3", "-c", Self.server, go]
      let jobs = try (0..<50).map { _ in try portmap.start(job) }
      // None ends before all have begun.
      let ports = jobs.compactMap { $0.line(timeout: 60) }
      #expect(Set(ports).count == 50, "\(ports)")
      try run(["touch", go])
      for job in jobs { try job.wait().expecting(0) }
      #expect(try portmap.list().isEmpty)
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func aLentPortIsForServersThatShare() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      #expect(try portmap("alloc", "--lend", "8080").stdout == "8080\n")
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty, "it still listens")
      #expect(try topology.host.bind(.tcp, "::", 8080)?.contains("EADDRINUSE") == true)
      #expect(try topology.host.bind(.tcp, "::", 8080, "--reuse") == nil)
      try portmap("alloc", "8080", status: 3)
      try portmap("alloc", "8080-8080", status: 3)
      // A server comes, serves, goes, and comes again.
      for name in ["first", "second"] {
        let server = try topology.host.serve(.tcp, "0.0.0.0", "8080", name: name)
        #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == name)
        server.kill()
      }
      #expect(try portmap.list().reservations.map(\.port) == [8080])
      try portmap("unmap", "8080")
      #expect(try topology.host.bind(.tcp, "::", 8080) == nil)
    }
  }

  @Test func theKernelGivesALentPortToNobody() throws {
    try withTopology { topology in
      try topology.outside.serve(.tcp, Address.outside, "9000", name: "outside")
      try topology.host.setSysctl("net.ipv4.ip_local_port_range=50000 50001")
      try topology.portmap("alloc", "--lend", "50000", "50001")
      // Every port of the range is lent: there is none for a connection.
      #expect(try topology.host.ask(.tcp, Address.outside, 9000).verdict == .failed)
      try topology.portmap("unmap", "50001")
      #expect(try topology.host.ask(.tcp, Address.outside, 9000).peerPort == 50001)
    }
  }

  @Test func aLentPortForACommand() throws {
    try withTopology { topology in
      let child = try topology.portmap.start([
        "alloc", "--lend", "8080", "--", "sh", "-c", "exec \(Tools.probe) serve tcp 0.0.0.0 $PORT --name web",
      ])
      #expect(child.line() == "ready")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      child.signal(SIGTERM)
      #expect(child.wait().status == 128 + SIGTERM)
      #expect(try topology.portmap.list().isEmpty)
      #expect(try topology.host.processes().isEmpty)
    }
  }
}
