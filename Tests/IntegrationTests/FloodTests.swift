import Foundation
import Testing

/// Floods and loops end at the proxy's limits: neither the host's other programs nor regular clients nor portmap's own
/// commands suffer.
@Suite(.serialized) struct FloodTests {
  typealias Address = Topology.Address

  /// Sends 50,000 datagrams, each from an address of its own, to all of the given ports.
  private func flood(_ topology: Topology, _ ports: String) throws -> ChildProcess {
    try topology.outside.ip("route", "add", "local", "10.64.0.0/14", "dev", "lo")
    try topology.host.ip("route", "add", "10.64.0.0/14", "via", Address.outside)
    return try topology.outside.start([
      Tools.probe, "scatter", Address.host, ports, "--count", "50000", "--from", "10.64.0.1",
    ])
  }

  /// A client that stays on one port; the port that the backend sees tells whether the proxy has forgotten it.
  private func ask(_ topology: Topology, _ port: Int) throws -> Int? {
    try topology.outside.ask(.udp, Address.host, port, "--bind", "192.0.2.2/7777").peerPort
  }

  /// A flood that the backend never answers takes half of the range; one that it answers may take more.
  @Test(arguments: [("picky", 400...600), ("line", 400...970)])
  func udpSourcesLeavePortsToOtherPrograms(_ mode: String, taken: ClosedRange<Int>) throws {
    try withTopology { topology in
      try topology.host.setSysctl("net.ipv4.ip_local_port_range=40000 40999")
      let server = try topology.web.serve(.udp, Address.web, "80", name: "web", mode: mode)
      // A process each, which do not know of each other.
      for port in 8080...8083 {
        try topology.portmap("map", "\(port):80/udp", "--proxy-only", "--to", Address.web)
      }
      let first = try #require(try ask(topology, 8080))
      // Where the flood is answered too, a client is known by its asking again.
      if mode == "line" { #expect(try ask(topology, 8080) == first) }
      let other = try topology.host.start([Tools.probe, "connects", Address.web, "53"])
      try #require(other.line() == "ready")
      let flood = try flood(topology, "8080-8083")
      var answers: [Int?] = []
      while flood.isRunning { answers.append(try ask(topology, 8080)) }
      #expect(flood.wait().status == 0)
      let sockets = try topology.host.exec("ss", "-Huan").lines.count
      #expect(taken.contains(sockets), "\(sockets)")
      // A datagram can get lost where so many are under way, the client cannot.
      let answered = answers.compactMap { $0 }
      #expect(
        answered.allSatisfy { $0 == first } && answered.count > answers.count / 2,
        "\(first): \(answers)"
      )
      // The background processes listen to commands all the same.
      try topology.portmap("unmap", "8081/udp")
      other.signal(SIGTERM)
      let line = try #require(other.line())
      #expect(line.wholeMatch(of: /connected [1-9]\d\d+, failed 0/) != nil, "\(line)")
      withExtendedLifetime(server) {}
    }
  }

  /// The processor time of a process so far, in clock ticks of 10 ms.
  private func ticks(_ pid: pid_t) throws -> Int {
    let text = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
    let fields = text.drop { $0 != ")" }.split(separator: " ")
    return try #require(Int(fields[12])) + #require(Int(fields[13]))
  }

  private func descriptors(_ pid: pid_t) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
  }

  /// Waits until a process rests, and returns how many descriptors it has then.
  private func descriptorsAtRest(_ pid: pid_t) throws -> Int {
    let deadline = Date() + 40
    while Date() < deadline {
      let (before, used) = (try descriptors(pid), try ticks(pid))
      usleep(500_000)
      if try descriptors(pid) == before, try ticks(pid) - used < 10 { return before }
    }
    Issue.record("it goes on and on")
    return try descriptors(pid)
  }

  @Test func aLoopOfConnectionsEndsAtTheLimit() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let mappings = try portmap.map(
        "127.0.0.1:8080:8081",
        "127.0.0.1:8081:8080",
        "--proxy-only",
        "--to",
        "127.0.0.1"
      )
      let pid = try #require(mappings.first?.pid)
      let client = try topology.host.startAsking(.tcp, "127.0.0.1", 8080, timeout: 50)
      let count = try descriptorsAtRest(pid)
      // 16,384 connections, or as many as the system allows.
      #expect((1000...33_000).contains(count), "\(count)")
      // It still hears commands, at once.
      let began = Date()
      try portmap("check", "--json")
      try portmap("unmap", "127.0.0.1:8080")
      #expect(Date().timeIntervalSince(began) < 5)
      #expect(Answer(client.wait()).verdict == .closed)
      #expect(try descriptorsAtRest(pid) < 100)
    }
  }

  @Test func aLoopOfDatagramsEnds() throws {
    try withTopology { topology in
      let pids = try [("8080", "8081"), ("8081", "8080")].map { host, backend in
        let mapping = try topology.portmap.map(
          "127.0.0.1:\(host):\(backend)/udp",
          "--proxy-only",
          "--to",
          "127.0.0.1"
        )
        return try #require(mapping.first?.pid)
      }
      #expect(try topology.host.ask(.udp, "127.0.0.1", 8080).verdict == .silent)
      // Half of the 64 hops that a datagram has, in each of the two processes.
      for pid in pids { #expect((30...60).contains(try descriptorsAtRest(pid))) }
    }
  }
}
