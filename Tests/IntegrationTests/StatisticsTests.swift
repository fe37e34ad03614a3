import CLinux
import Foundation
import Testing

/// What `list --stats` says has gone through, next to what went through.
@Suite struct StatisticsTests {
  typealias Address = Topology.Address

  /// The figures of the only mapping that a target means.
  private func statistics(
    _ portmap: Portmap,
    _ target: String,
    at location: SourceLocation = #_sourceLocation
  ) throws -> StatisticsRecord {
    let mappings = try portmap.list("--stats", target).mappings
    try #require(mappings.count == 1, sourceLocation: location)
    return try #require(mappings[0].stats, sourceLocation: location)
  }

  /// The same, as soon as all that is open has been closed.
  private func settled(_ portmap: Portmap, _ target: String) throws -> StatisticsRecord {
    try eventually("\(target) is open") { try statistics(portmap, target).open == 0 }
    return try statistics(portmap, target)
  }

  /// The cells of a mapping's line in the table, by the names of the columns. What has failed ends the line.
  private func cells(_ portmap: Portmap, _ line: String) throws -> [String: String] {
    let table = try portmap("list", "--stats").lines
    let header = try #require(table.first).split(separator: " ").map(String.init)
    let row = try #require(table.first { $0.hasPrefix(line + " ") }, "\(table)")
    // Two spaces divide columns, one is between a figure and its unit.
    let cells = row.replacing(#/ {2,}/#, with: "\t").split(separator: "\t").map(String.init)
    try #require(header.count == cells.count, "\(table)")
    return Dictionary(uniqueKeysWithValues: zip(header, cells))
  }

  // MARK: what went through

  @Test func byRuleAndByProxy() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      for transport in Transport.allCases {
        try topology.web.serve(transport, Address.web, "80", name: "web", mode: "echo")
      }
      try portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      let untouched = StatisticsRecord(nat: 0, proxy: 0)
      #expect(try statistics(portmap, "8080") == untouched && statistics(portmap, "8080/udp") == untouched)
      for transport in Transport.allCases {
        for _ in 0..<3 {
          #expect(
            try topology.outside.ask(transport, Address.host, 8080, "--size", "1000").verdict == .answered
          )
        }
        // The host's own address is led by the rule too, loopback by the proxy.
        #expect(try topology.host.ask(transport, Address.host, 8080, "--size", "10").verdict == .answered)
        for size in [20_000, 3] {
          let answer = try topology.host.ask(transport, "127.0.0.1", 8080, "--size", "\(size)")
          #expect(answer.text == "echoed \(size)", "\(answer)")
        }
      }
      let tcp = try settled(portmap, "8080")
      #expect(tcp == StatisticsRecord(nat: 4, proxy: 2, proxyBytesIn: 20_003, proxyBytesOut: 20_003))
      // Clients of udp are there until they have been silent for 90 seconds.
      let udp = try statistics(portmap, "8080/udp")
      #expect(udp == StatisticsRecord(nat: 4, open: 2, proxy: 2, proxyBytesIn: 20_003, proxyBytesOut: 20_003))
      let line = try cells(portmap, "8080->10.99.0.2:80/udp")
      #expect(
        line == [
          "PORT": "8080->10.99.0.2:80/udp", "NAT": "4", "CONNECT": "-", "PROXY": "2", "OPEN": "2",
          "IN": "20 KiB", "OUT": "20 KiB", "FAILED": "0",
        ]
      )
      // Other commands change nothing of it.
      try portmap("map", "8081:80", "--to", Address.web)
      try portmap("check")
      try portmap("repair")
      try portmap("unmap", "8081")
      #expect(try statistics(portmap, "8080") == tcp && statistics(portmap, "8080/udp") == udp)
    }
  }

  @Test func theOtherFamilyAndMasqueradedMappings() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.web.serve(.tcp, Address.web6, "80", name: "web6")
      try portmap("map", "8080:80", "--masquerade", "--to", Address.web)
      try portmap("map", "8086:80", "--to", Address.web6)
      for (host, port) in [(Address.host, 8080), (Address.host6, 8086)] {
        for _ in 0..<2 { #expect(try topology.outside.ask(.tcp, host, port).verdict == .answered) }
      }
      #expect(try topology.outside.ask(.tcp, Address.host6, 8080).verdict == .answered)
      let (v4, v6) = (try settled(portmap, "8080"), try settled(portmap, "8086"))
      #expect(v4.nat == 2 && v4.proxy == 1 && v6.nat == 2 && v6.proxy == 0)
      // One program a family, however many mappings there are.
      let outcome = try portmap("list", "--stats", "-v")
      let programs = outcome.stderr.split(separator: "\n").map { $0.prefix(20) }
      #expect(programs == ["[#] iptables-save --", "[#] ip6tables-save -"], "\(outcome)")
    }
  }

  /// Loopback connections that are led to the backend as they connect are none of the proxy's.
  @Test func byConnect() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      for port in ["80", "81"] { try topology.web.serve(.tcp, Address.web, port, name: "web") }
      let mapped = try portmap.map("8080:80", "8000-8001:80-81", "--to", Address.web)
      #expect(mapped.map(\.connect) == [true, true])
      #expect(try cells(portmap, "8080->10.99.0.2:80")["CONNECT"] == "0")
      for port in [8080, 8080, 8080, 8000, 8001] {
        #expect(try topology.host.ask(.tcp, "127.0.0.1", port).verdict == .answered)
      }
      #expect(try topology.host.ask(.tcp, "::1", 8080).verdict == .answered)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .answered)
      let one = try settled(portmap, "8080")
      #expect(one.connect == 3 && one.nat == 1 && one.proxy == 1, "\(one)")
      #expect(try statistics(portmap, "8000-8001").connect == 2)
      #expect(try cells(portmap, "8080->10.99.0.2:80")["CONNECT"] == "3")
      try portmap("repair")
      #expect(try statistics(portmap, "8080") == one)
    }
  }

  @Test func aRangeHasSums() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      for port in ["80", "81", "90"] {
        try topology.web.serve(.tcp, Address.web, port, name: "web", mode: "echo")
      }
      // The second one straddles two blocks of ports.
      try portmap("map", "8000-8010:80-90", "8190-8200:80-90", "--to", Address.web)
      for port in [8000, 8001, 8010, 8191, 8200] {
        #expect(try topology.outside.ask(.tcp, Address.host, port, "--size", "7").verdict == .answered)
        #expect(try topology.host.ask(.tcp, "127.0.0.1", port, "--size", "100").verdict == .answered)
      }
      let range = try settled(portmap, "8000-8010")
      #expect(range == StatisticsRecord(nat: 3, proxy: 3, proxyBytesIn: 300, proxyBytesOut: 300))
      let other = try settled(portmap, "8190-8200")
      #expect(other == StatisticsRecord(nat: 2, proxy: 2, proxyBytesIn: 200, proxyBytesOut: 200))
    }
  }

  @Test func failures() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      let start = Date().addingTimeInterval(-1)
      for transport in Transport.allCases {
        for _ in 0..<2 {
          #expect(try topology.host.ask(transport, "127.0.0.1", 8080, timeout: 1).isUnanswered)
        }
      }
      for target in ["8080", "8080/udp"] {
        let failed = try statistics(portmap, target)
        #expect(failed.proxy == 2 && failed.failed == 2 && failed.nat == 0, "\(failed)")
        #expect(failed.lastFailure == "connection refused")
        let time = try #require(failed.lastFailureTime)
        let date = try #require(ISO8601DateFormatter().date(from: time), "\(time)")
        #expect(time.hasSuffix("Z") && (start...Date()).contains(date), "\(time)")
      }
      let cell = try #require(try cells(portmap, "8080->10.99.0.2:80")["FAILED"])
      #expect(cell.wholeMatch(of: #/2 \(connection refused, \d+ s ago\)/#) != nil, "\(cell)")
      // A neighbour that is not there: the kernel gives up after some seconds.
      try portmap("map", "8081:80", "--to", "10.99.0.77")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8081, timeout: 10).isUnanswered)
      try eventually("no failure") { try statistics(portmap, "8081").failed == 1 }
      #expect(try statistics(portmap, "8081").lastFailure == "no route to host")
    }
  }

  @Test func openConnectionsAndTheBytesSoFar() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      try portmap("map", "8080:80", "--to", Address.web)
      let asking = try (0..<2).map { _ in
        try topology.host.startAsking(.tcp, "127.0.0.1", 8080, timeout: 60, ["--payload", "1234567"])
      }
      try eventually("not both are open") {
        try statistics(portmap, "8080") == StatisticsRecord(nat: 0, open: 2, proxy: 2, proxyBytesIn: 16)
      }
      asking.forEach { $0.kill() }
    }
  }

  // MARK: mappings of all kinds

  @Test func whatHasNoSuchWay() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      let onlyProxy = try portmap("list", "--stats", "-v")
      #expect(!onlyProxy.stderr.contains("[#]"), "\(onlyProxy)")
      try portmap("map", "8081:80", "--no-proxy", "--to", Address.web)
      try portmap("map", "127.0.0.1:8082:80", "--to", Address.web)
      try portmap("alloc", "9000", "9001/udp")
      try portmap("alloc", "--ip", "--name", "db")
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).verdict == .answered)
      #expect(try statistics(portmap, "8081") == StatisticsRecord(nat: 1, proxy: 0))
      let (proxy, rules) = (
        try cells(portmap, "8080->10.99.0.2:80"), try cells(portmap, "8081->10.99.0.2:80")
      )
      #expect(proxy["NAT"] == "-" && proxy["PROXY"] == "0" && proxy["IN"] == "0 B")
      #expect(rules["NAT"] == "1" && rules["PROXY"] == "-" && rules["FAILED"] == "-")
      // Reservations and addresses are shown as ever.
      let (plain, table) = (try portmap("list").lines, try portmap("list", "--stats").lines)
      for text in ["9000 ", "9001/udp ", "172.16.42.2"] {
        let line = try #require(plain.first { $0.hasPrefix(text) })
        #expect(table.contains { $0.split(separator: " ") == line.split(separator: " ") }, "\(table)")
      }
      #expect(table.allSatisfy { $0.count <= 80 }, "\(table)")
      let one = try portmap("list", "--stats", "9000").lines
      #expect(one.count == 2 && one[1].hasPrefix("9000 "), "\(one)")
    }
  }

  @Test func theDocument() throws {
    try withTopology { topology in
      try topology.portmap("map", "8080:80", "--to", Address.web)
      let text = try topology.portmap("--json", "list", "--stats", "-q").stdout
      #expect(
        text.contains(
          #","stats":{"connect":0,"failed":0,"nat":0,"open":0,"proxy":0,"proxyBytesIn":0,"proxyBytesOut":0},"status":"#
        ),
        "\(text)"
      )
      #expect(try topology.portmap.list().mappings.map(\.stats) == [nil])
    }
  }

  @Test func mistakesAndNothing() throws {
    try withHost { portmap, _ in
      #expect(try portmap("list", "--stats").stdout.isEmpty)
      #expect(try portmap("list", "--stats", "8080", status: 5).stderr.contains("8080"))
      for options in [
        ["--stats", "-q"], ["--quiet", "--stats", "8080"], ["--stats=1"], ["--stats", "80/TCP"],
      ] {
        try portmap.run(["list"] + options, status: 2)
      }
      #expect(FileManager.default.fileExists(atPath: portmap.state) == false)
    }
  }

  @Test func forAsLongAsACommandRuns() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let script = "\(Tools.probe) ask tcp 127.0.0.1 8080 >/dev/null; \"$0\" list --stats"
      let outcome = try topology.portmap.withoutConnecting.shell(
        "exec \"$0\" map 8080:80 --to \(Address.web) -- sh -c '\(script)' \"$0\""
      )
      let row = try #require(outcome.lines.last).split(separator: " ")
      #expect(row.prefix(4) == ["8080->10.99.0.2:80", "0", "-", "1"], "\(outcome)")
    }
  }

  @Test func anOrdinaryUser() throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.state = topology.folder + "/theirs"
      portmap.prefix = Tools.ordinaryUser
      portmap.binary = try topology.readableBinary()
      try FileManager.default.createDirectory(
        atPath: portmap.state,
        withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o700, .ownerAccountID: 65000, .groupOwnerAccountID: 65000]
      )
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try portmap("map", "--proxy-only", "8080:80", "--to", Address.web)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .answered)
      #expect(try settled(portmap, "8080").proxy == 1)
    }
  }

  // MARK: what does not answer

  @Test func afterRepair() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      // All of them in one chain.
      try portmap("map", "8080:80", "8081:80", "8082:80", "--to", Address.web)
      for port in [8080, 8080, 8081] {
        #expect(try topology.outside.ask(.tcp, Address.host, port).verdict == .answered)
      }
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).verdict == .answered)
      // The chain is written anew where one of its rules is gone: the others keep what they have counted.
      let script = """
        rule=$(iptables-save -t nat | grep -e '--dport 8082 .*DNAT' | sed -e 's/^-A //')
        echo "$rule" | xargs iptables -t nat -D
        """
      try topology.host.exec("sh", "-c", script)
      try portmap("repair")
      try portmap("check")
      #expect(try ["8080", "8081", "8082"].map { try statistics(portmap, $0).nat } == [2, 1, 0])
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .answered)
      #expect(try statistics(portmap, "8080").nat == 3 && settled(portmap, "8080").proxy == 1)
      // A rule that is gone has taken its counter along.
      try topology.host.exec("sh", "-c", "iptables -t nat -F; iptables -t nat -X")
      #expect(try statistics(portmap, "8080").nat == 0)
      try portmap("repair")
      #expect(try statistics(portmap, "8080").nat == 0)
      // What the proxy has counted goes with the process, what the rules have stays.
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .answered)
      try topology.host.killProcesses()
      #expect(try statistics(portmap, "8080") == StatisticsRecord(nat: 1))
      #expect(try cells(portmap, "8080->10.99.0.2:80")["PROXY"] == "?")
      try portmap("repair")
      #expect(try statistics(portmap, "8080") == StatisticsRecord(nat: 1, proxy: 0))
    }
  }

  /// The other backend of iptables counts as well, and so do rules that it has made while `iptables` is this one.
  @Test func iptablesLegacy() throws {
    try withTopology { topology in
      var shims: [String: String] = [:]
      for name in ["iptables", "ip6tables"].flatMap({ [$0, $0 + "-save", $0 + "-restore"] }) {
        shims[name] = "exec \(name.replacing("tables", with: "tables-legacy")) \"$@\""
      }
      let portmap = try topology.portmap(with: shims)
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try portmap("map", "8080:80", "8081:80", "--to", Address.web)
      for _ in 0..<2 { #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .answered) }
      #expect(try statistics(portmap, "8080").nat == 2 && statistics(topology.portmap, "8080").nat == 2)
      let script = """
        rule=$(iptables-legacy-save -t nat | grep -e '--dport 8081 .*DNAT' | sed -e 's/^-A //')
        echo "$rule" | xargs iptables-legacy -t nat -D
        """
      try topology.host.exec("sh", "-c", script)
      try portmap("repair")
      try portmap("check")
      #expect(try statistics(portmap, "8080").nat == 2)
      try portmap("unmap", "--all")
    }
  }

  @Test func aStoppedProcessHoldsNobodyUp() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try portmap("map", "8080:80", "--to", Address.web)
      let pid = try #require(try portmap.list().mappings[0].pid)
      for port in 8081...8085 { try portmap("map", "\(port):80", "--to", Address.web) }
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8083).verdict == .answered)
      kill(pid, SIGSTOP)
      defer { kill(pid, SIGCONT) }
      // More than fit into the queue of its control socket.
      for _ in 0..<20 {
        let start = Date()
        let table = try portmap("list", "--stats", "8080", "8083").lines
        #expect(Date().timeIntervalSince(start) < 5)
        #expect(
          table[1].split(separator: " ")[3] == "?" && table[2].split(separator: " ")[3] == "1",
          "\(table)"
        )
      }
      let silent = try portmap.list("--stats", "8080").mappings[0].stats
      #expect(silent == StatisticsRecord(nat: 0))
      kill(pid, SIGCONT)
      #expect(try statistics(portmap, "8080") == StatisticsRecord(nat: 0, proxy: 0))
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).verdict == .answered)
    }
  }

  /// A process of version 0.1.0 says what it says to everything that it does not know.
  @Test func aProcessThatDoesNotCount() throws {
    try withTopology { topology in
      let portmap = topology.portmap.withoutConnecting
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try portmap("map", "8080:80", "--to", Address.web)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .answered)
      let former = try FormerProcess(in: portmap.state)
      let outcome = try portmap("list", "--stats")
      #expect(outcome.stderr.isEmpty, "\(outcome)")
      let line = try cells(portmap, "8080->10.99.0.2:80")
      #expect(line["NAT"] == "1" && line["PROXY"] == "-" && line["OUT"] == "-" && line["FAILED"] == "-")
      #expect(try statistics(portmap, "8080") == StatisticsRecord(nat: 1))
      former.end()
    }
  }

  /// Stands in for the only background process of a state folder, which goes on, and answers as 0.1.0 did.
  private final class FormerProcess {
    private let descriptor: Int32
    private let path: String
    private let ended = DispatchSemaphore(value: 0)

    init(in state: String) throws {
      let names = try FileManager.default.contentsOfDirectory(atPath: state).filter { $0.hasPrefix("hold-") }
      try #require(names.count == 1)
      path = "\(state)/\(names[0])"
      try FileManager.default.moveItem(atPath: path, toPath: path + ".kept")
      descriptor = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      let result = withUnsafePointer(to: address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      try #require(result == 0 && listen(descriptor, 16) == 0)
      let (listener, isOver) = (descriptor, ended)
      let refusal: [UInt8] = [1, 131]
      Thread.detachNewThread {
        while true {
          let caller = accept(listener, nil, nil)
          if caller < 0 { break }
          var buffer = [UInt8](repeating: 0, count: 100)
          while recv(caller, &buffer, buffer.count, 0) > 0 {
            _ = send(caller, refusal, refusal.count, Int32(MSG_NOSIGNAL))
          }
          close(caller)
        }
        isOver.signal()
      }
    }

    func end() {
      shutdown(descriptor, Int32(SHUT_RDWR))
      ended.wait()
      close(descriptor)
      try? FileManager.default.removeItem(atPath: path)
      try? FileManager.default.moveItem(atPath: path + ".kept", toPath: path)
    }
  }
}

/// What has gone through a mapping, in JSON.
struct StatisticsRecord: Decodable, Equatable {
  var connect: UInt64?
  var failed: UInt64?
  var lastFailure: String?
  var lastFailureTime: String?
  var nat: UInt64?
  var open: UInt64?
  var proxy: UInt64?
  var proxyBytesIn: UInt64?
  var proxyBytesOut: UInt64?

  /// Of a process that does not tell.
  init(nat: UInt64) {
    (self.nat, connect) = (nat, 0)
  }

  init(nat: UInt64, open: UInt64 = 0, proxy: UInt64, proxyBytesIn: UInt64 = 0, proxyBytesOut: UInt64 = 0) {
    (self.nat, self.open, self.proxy, connect, failed) = (nat, open, proxy, 0, 0)
    (self.proxyBytesIn, self.proxyBytesOut) = (proxyBytesIn, proxyBytesOut)
  }
}
