import Foundation
import Testing

/// `portmap proxy`: in the foreground, without root, state or rules.
@Suite struct ProxyCommandTests {
  typealias Address = Topology.Address

  @Test func severalPairsInOneProcess() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80-85", name: "web")
      try topology.other.serve(.tcp, Address.other6, "80", name: "other")
      let before = try topology.host.snapshot()
      var portmap = topology.portmap
      portmap.prefix = Tools.ordinaryUser
      portmap.binary = try topology.readableBinary()
      let proxy = try portmap.start([
        "proxy", "8080", "10.99.0.2:80", "127.0.0.1:8081/udp", "10.99.0.2:80", "[::1]:8082",
        "[fd00:99::3]:80",
        "8090-8095/udp", "10.99.0.2:80-85",
      ])
      let lines = (0..<4).map { _ in proxy.line() ?? "" }
      #expect(
        lines == [
          "8080->10.99.0.2:80", "127.0.0.1:8081->10.99.0.2:80/udp", "[::1]:8082->[fd00:99::3]:80",
          "8090-8095->10.99.0.2:80-85/udp",
        ]
      )
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.bridge)
      #expect(try topology.outside.ask(.tcp, Address.host6, 8080).peer == Address.bridge)
      #expect(try topology.host.ask(.udp, "127.0.0.1", 8081).name == "web")
      #expect(try topology.outside.ask(.udp, Address.host, 8081).verdict == .refused)
      #expect(try topology.host.ask(.tcp, "::1", 8082).peer == Address.bridge6)
      #expect(try topology.outside.ask(.udp, Address.host, 8093).port == 83)
      #expect(try topology.host.snapshot() == before)
      #expect(!FileManager.default.fileExists(atPath: portmap.state))
    }
  }

  @Test(arguments: [SIGTERM, SIGINT])
  func aSignalClosesEverything(_ signal: Int32) throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      let proxy = try topology.portmap.start(["proxy", "0", "10.99.0.2:80"])
      let line = try #require(proxy.line())
      let port = try #require(line.wholeMatch(of: /(\d+)->10\.99\.0\.2:80/).flatMap { Int($0.1) }, "\(line)")
      let client = try topology.outside.startAsking(.tcp, Address.host, port, timeout: 10)
      #expect(client.line(timeout: 0.3) == nil)
      proxy.signal(signal)
      let outcome = proxy.wait(timeout: 3)
      #expect(outcome.status == 0, "\(outcome)")
      #expect(Answer(client.wait(timeout: 3)).verdict == .closed)
      #expect(try topology.host.processes().isEmpty)
    }
  }

  @Test func portsThatAreTaken() throws {
    try withHost { portmap, host in
      try host.serve(.tcp, "0.0.0.0", "8081", name: "stranger")
      let outcome = try portmap("proxy", "8080", "127.0.0.1:80", "8081", "127.0.0.1:80", status: 3)
      #expect(outcome.stdout.isEmpty && outcome.stderr.contains("address already in use"), "\(outcome)")
    }
  }

  @Test func aFrontendIsNotItsOwnBackend() throws {
    try withTopology { topology in
      let written = [
        ["8080", "127.0.0.1:8080"], ["8080/udp", "192.0.2.1:8080"], ["[::1]:8080", "[::1]:8080"],
        ["127.0.0.2:8000-8002", "127.0.0.2:8000-8002"], ["8081", "10.99.0.2:80", "8080", "127.0.0.1:8080"],
      ]
      for pair in written {
        let outcome = try topology.portmap.run(["proxy"] + pair, status: 2)
        #expect(outcome.stdout.isEmpty && outcome.stderr.contains("its own backend"), "\(outcome)")
      }
      var activated = topology.portmap
      activated.prefix = [Tools.probe, "activate", "tcp/127.0.0.1/8080", "--"]
      try activated.run(["proxy", "127.0.0.1:8080"], status: 2)
      let proxy = try topology.portmap.start([
        "proxy", "0", "127.0.0.1:49153", "127.0.0.1:8080", "127.0.0.2:8080", "8000-8001",
        "127.0.0.1:8001-8002",
      ])
      #expect(proxy.line() == "49154->127.0.0.1:49153")
      #expect(proxy.line() == "127.0.0.1:8080->127.0.0.2:8080" && proxy.line() != nil)
    }
  }

  @Test func socketsThatItIsHanded() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80-81", name: "web")
      var portmap = topology.portmap
      portmap.prefix = [Tools.probe, "activate", "tcp/127.0.0.1/8080", "udp/::/8081", "--"]
      let proxy = try portmap.start(["proxy", "10.99.0.2:80", "10.99.0.2:81"])
      #expect(proxy.line() != nil && proxy.line() != nil)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).port == 80)
      #expect(try topology.outside.ask(.udp, Address.host, 8081).port == 81)
      #expect(try topology.outside.ask(.udp, Address.host6, 8081).port == 81)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .refused)
      proxy.signal(SIGTERM)
      #expect(proxy.wait().status == 0)
    }
  }

  @Test func backendsThatDoNotFitTheSockets() throws {
    try withHost { portmap, _ in
      var portmap = portmap
      portmap.prefix = [Tools.probe, "activate", "tcp/127.0.0.1/8080", "--"]
      for backends in [[], ["10.99.0.2:80", "10.99.0.2:81"], ["8080", "10.99.0.2:80"], ["10.99.0.2:80-81"]] {
        let outcome = try portmap.run(["proxy"] + backends, status: 2)
        #expect(outcome.stdout.isEmpty, "\(outcome)")
      }
    }
  }

  @Test func udpTimeout() throws {
    try withTopology { topology in
      try topology.web.serve(.udp, Address.web, "80", name: "web")
      let proxy = try topology.portmap.start(["proxy", "--udp-timeout", "1", "8080/udp", "10.99.0.2:80"])
      #expect(proxy.line() != nil)
      let ask = { try topology.outside.ask(.udp, Address.host, 8080, "--bind", "192.0.2.2/7777").peerPort }
      let first = try #require(try ask())
      // The pauses are the point. Kept alive by traffic, and the same socket towards the backend as long as it is.
      for _ in 0..<3 {
        usleep(500_000)
        #expect(try ask() == first)
      }
      usleep(2_500_000)
      let later = try #require(try ask())
      #expect(later != first)
    }
  }
}
