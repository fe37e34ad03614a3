import Foundation
import Testing

/// Processes that serve can do nothing else, and everything that serving needs.
@Suite struct ConfinementTests {
  typealias Address = Topology.Address

  private func expectConfined(_ pid: pid_t) throws {
    let status = try ProcessState.status(pid)
    #expect(status["Seccomp"] == ["2"] && status["NoNewPrivs"] == ["1"], "process \(pid)")
    #expect(status["Threads"] == ["1"])
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
      #expect(status[name] == ["0000000000000000"], "\(name) of process \(pid)")
    }
    #expect(try ProcessState.limits(pid, "Max processes") == ["0", "0"])
    #expect(try ProcessState.limits(pid, "Max core file size") == ["0", "0"])
    // Not dumpable: what is in /proc of it is root's, whoever it runs as.
    let owner = try FileManager.default.attributesOfItem(atPath: "/proc/\(pid)/mem")[.ownerAccountID] as? Int
    #expect(owner == 0)
  }

  @Test func reservationsMappingsAndProxies() throws {
    try withTopology { topology in
      try topology.portmap("alloc", "8080")
      try topology.portmap("map", "8081:80/tcp+udp", "--to", Address.web)
      for pid in try topology.host.processes() { try expectConfined(pid) }
      #expect(try topology.host.processes().count == 2)
      let proxy = try topology.portmap.start(["proxy", "8082", "\(Address.web):80"])
      #expect(proxy.line() != nil)
      let deadline = Date() + 5
      while try ProcessState.status(proxy.pid)["Seccomp"] != ["2"], Date() < deadline {}
      try expectConfined(proxy.pid)
      proxy.signal(SIGTERM)
      #expect(proxy.wait().status == 0)
    }
  }

  @Test func anOrdinaryUsersProcessIsShutToTheUser() throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.state = topology.folder + "/users"
      for folder in [portmap.state, portmap.state + "-other"] {
        try run(["install", "-d", "-m", "0700", "-o", "65000", "-g", "65000", folder])
      }
      portmap.binary = try topology.readableBinary()
      portmap.prefix = Tools.ordinaryUser
      try portmap("map", "--proxy-only", "8080:80", "--to", Address.web)
      let pid = try #require(try portmap.list().mappings.first?.pid)
      try expectConfined(pid)
      for path in ["fd", "ns/net", "mem", "exe", "environ"] {
        let outcome = try topology.host.exec(
          portmap.prefix + ["sh", "-c", "ls /proc/\(pid)/\(path)/ || cat /proc/\(pid)/\(path)"],
          status: nil
        )
        #expect(outcome.status != 0 && outcome.stderr.contains("ermission denied"), "\(outcome)")
      }
      // What the user may do all the same goes by way of the control socket.
      try portmap("check")
      let taken = try portmap("alloc", "--state-dir", portmap.state + "-other", "8080", status: nil)
      #expect(taken.stderr.contains("user 65000"), "\(taken)")
      try portmap("unmap", "8080")
      #expect(try topology.host.processes().isEmpty)
    }
  }

  /// All that traffic can do to a proxy that tells of every call that its list lacks: there is none.
  @Test(arguments: ["map", "map --proxy-only", "proxy"])
  func nothingThatServingNeedsIsRefused(_ command: String) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let servers = [
        try topology.web.serve(.tcp, Address.web, "80", name: "web"),
        try topology.web.serve(.tcp, Address.web6, "80", name: "web"),
        try topology.web.serve(.udp, Address.web, "80", name: "web"),
        try topology.web.serve(.tcp, Address.web, "81", name: "web", mode: "echo"),
        try topology.web.serve(.tcp, Address.web, "82", name: "web", mode: "sink"),
        try topology.web.serve(.tcp, Address.web, "83", name: "web", mode: "farewell"),
        try topology.web.serve(.tcp, Address.web, "84", name: "web", mode: "reset"),
        try topology.web.serve(.udp, Address.web, "85", name: "web", mode: "echo"),
      ]
      var portmap = topology.portmap
      let log = topology.folder + "/log"
      portmap.prefix = ["/usr/bin/env", "PORTMAP_DEBUG=1", "sh", "-c", "exec \"$0\" \"$@\" 2>>\(log)"]
      var proxy: ChildProcess?
      let frontends = (8080...8085).map { (UInt16($0), "\(Address.web):\($0 - 8000)") }
      if command == "proxy" {
        proxy = try portmap.start(
          ["proxy"]
            + frontends.flatMap { port, backend in [port == 8085 ? "\(port)/udp" : "\(port)", backend] }
            + ["8090/udp", "\(Address.web):80", "8086", "[\(Address.web6)]:80"]
        )
        for _ in 0..<8 { #expect(proxy?.line() != nil) }
      } else {
        let words = command.split(separator: " ").map(String.init)
        try portmap.run(words + ["8080-8084:80-84", "8085:85/udp", "8090:80/udp", "--to", Address.web])
        try portmap.run(words + ["8086:80", "--to", Address.web6])
      }
      try exercise(topology.host)
      if let proxy {
        proxy.signal(SIGTERM)
        #expect(proxy.wait().status == 0)
      } else {
        try portmap("alloc", "9000")
        try portmap("map", "--proxy-only", "9000:80", "--to", Address.web)
        #expect(try topology.host.ask(.tcp, "127.0.0.1", 9000).name == "web")
        try portmap("check")
        try portmap("unmap", "--all")
      }
      let told = try String(contentsOfFile: log, encoding: .utf8)
      #expect(!told.contains("refused"), "\(told)")
      #expect(
        command == "proxy" || told.contains("serves") && told.contains("released everything"),
        "\(told)"
      )
      withExtendedLifetime(servers) {}
    }
  }

  /// By way of loopback, which nothing but the proxy serves.
  private func exercise(_ host: Namespace) throws {
    for address in ["127.0.0.1", "::1"] {
      #expect(try host.ask(.tcp, address, 8080).name == "web")
      #expect(try host.ask(.udp, address, 8090).name == "web")
    }
    #expect(try host.ask(.tcp, "127.0.0.1", 8086).name == "web")
    // Bulk both ways, a half-close, a reset.
    #expect(try host.ask(.tcp, "127.0.0.1", 8081, timeout: 10, "--size", "3000000").text == "echoed 3000000")
    let sink = try host.ask(.tcp, "127.0.0.1", 8082, timeout: 10, "--size", "3000000")
    #expect(sink.text.hasSuffix("3000000"), "\(sink)")
    let halfClose = try host.ask(.tcp, "127.0.0.1", 8083, "--size", "1000", "--read-first")
    #expect(halfClose.verdict == .answered)
    let abort = try host.ask(.tcp, "127.0.0.1", 8083, "--size", "1000", "--read-first", "--abort")
    #expect(abort.verdict == .answered)
    #expect(try host.ask(.tcp, "127.0.0.1", 8084).verdict == .closed)
    #expect(try host.ask(.udp, "127.0.0.1", 8085, "--size", "60000").verdict == .answered)
    for _ in 0..<4 {
      let crowd = try host.start([
        Tools.probe, "crowd", "127.0.0.1", "8080", "--count", "250", "--timeout", "10",
      ])
      #expect(crowd.wait().stdout == "answered 250\n")
    }
    let flood = try host.startFlooding("127.0.0.1", 8090, until: "web", timeout: 5)
    #expect(flood.wait().status == 0)
  }
}
