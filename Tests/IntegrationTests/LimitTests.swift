import Foundation
import Testing

/// A proxy at its limits waits instead of failing, and recovers.
@Suite(.serialized) struct LimitTests {
  typealias Address = Topology.Address

  /// The processor time that a process takes in one second, in clock ticks of 10 ms.
  private func ticksInOneSecond(_ pid: pid_t) throws -> Int {
    func ticks() throws -> Int {
      let text = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
      let fields = text.drop { $0 != ")" }.split(separator: " ")
      return try #require(Int(fields[12])) + #require(Int(fields[13]))
    }
    let before = try ticks()
    // What is measured is a time.
    usleep(1_000_000)
    return try ticks() - before
  }

  private func startCrowd(_ topology: Topology, _ port: Int, timeout: Double) throws -> ChildProcess {
    try topology.outside.start([
      Tools.probe, "crowd", Address.host, "\(port)", "--count", "60", "--timeout", "\(timeout)",
    ])
  }

  @Test func outOfDescriptors() throws {
    try withTopology { topology in
      let servers = [
        try topology.web.serve(.tcp, Address.web, "80", name: "web"),
        try topology.web.serve(.tcp, Address.web, "81", name: "web", mode: "mute"),
      ]
      var portmap = topology.portmap
      portmap.prefix = ["prlimit", "--nofile=80:80"]
      let proxy = try portmap.start(["proxy", "8080", "10.99.0.2:80", "8081", "10.99.0.2:81"])
      #expect(proxy.line() == "8080->10.99.0.2:80" && proxy.line() == "8081->10.99.0.2:81")
      // More connections than it can have: each has its turn.
      #expect(try startCrowd(topology, 8080, timeout: 8).wait().stdout == "answered 60\n")
      // Connections that stay: it neither spins nor ends.
      let crowd = try startCrowd(topology, 8081, timeout: 2.5)
      try eventually("the crowd does not connect") { try topology.outside.connections(to: 8081) == 60 }
      let used = try ticksInOneSecond(proxy.pid)
      #expect(used < 30, "\(used) % of a processor")
      #expect(crowd.wait().stdout == "answered 0\n")
      // To the backend these connections may be half closed only; now they are over.
      servers[1].kill()
      #expect(try topology.outside.ask(.tcp, Address.host, 8080, timeout: 5).name == "web")
      proxy.signal(SIGTERM)
      #expect(proxy.wait().status == 0)
    }
  }

  @Test func anIdleProxyTakesNoTime() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      let mapping = try #require(try topology.portmap.map("8080:80/tcp+udp", "--to", Address.web).first)
      try topology.host.startAsking(.tcp, "127.0.0.1", 8080, timeout: 5)
      try eventually("the connection does not reach the backend") {
        try topology.host.connections(to: 80) == 1
      }
      #expect(try ticksInOneSecond(try #require(mapping.pid)) <= 1)
    }
  }
}
