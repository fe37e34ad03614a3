import Foundation
import Testing

/// What the proxy carries: streams with both their ends, datagrams of every size.
@Suite struct RelayTests {
  typealias Address = Topology.Address

  /// Maps one port through the proxy alone to a server in a given mode, and has it asked from outside.
  private func relay(
    _ transport: Transport,
    _ mode: String,
    _ options: [String],
    timeout: Double = 5,
    _ body: (Answer, ChildProcess, Topology) throws -> Void
  ) throws {
    try withTopology { topology in
      let server = try topology.web.serve(transport, Address.web, "80", name: "web", mode: mode)
      try topology.portmap("map", "8080:80\(transport.suffix)", "--proxy-only", "--to", Address.web)
      let client = try topology.outside.startAsking(transport, Address.host, 8080, timeout: timeout, options)
      try body(Answer(client.wait()), server, topology)
    }
  }

  @Test func bulkInBothDirections() throws {
    try relay(.tcp, "echo", ["--size", "3000000"]) { answer, _, _ in
      #expect(answer.text == "echoed 3000000", "\(answer)")
    }
  }

  @Test func theClientsHalfClose() throws {
    try relay(.tcp, "sink", ["--size", "1000000"]) { answer, _, _ in
      #expect(answer.text.hasSuffix(" 1000000"), "\(answer)")
    }
  }

  @Test func theBackendsHalfClose() throws {
    try relay(.tcp, "farewell", ["--size", "1000000", "--read-first"]) { answer, server, _ in
      #expect(answer.text == "goodbye", "\(answer)")
      #expect(server.line() == "received 1000000")
    }
  }

  @Test func aReset() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "reset")
      try topology.portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      let outcome = try topology.outside.startAsking(.tcp, Address.host, 8080, timeout: 5).wait()
      // A reset, not the end of a stream that was complete.
      #expect(outcome.stderr.contains("104"), "\(outcome)")
    }
  }

  @Test func aResetOfTheClients() throws {
    try relay(.tcp, "farewell", ["--size", "1000", "--read-first", "--abort"]) { answer, server, _ in
      #expect(answer.text == "goodbye", "\(answer)")
      #expect(server.line() == "reset")
    }
  }

  @Test func aBackendThatRefuses() throws {
    try withTopology { topology in
      try topology.portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      let answer = try topology.outside.ask(.tcp, Address.host, 8080)
      #expect([.closed, .refused].contains(answer.verdict), "\(answer)")
    }
  }

  @Test func aBackendThatNeverReads() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      let pid = try #require(
        try topology.portmap.map("8080:80", "--proxy-only", "--to", Address.web).first?.pid
      )
      for _ in 0..<4 {
        try topology.outside.startAsking(.tcp, Address.host, 8080, timeout: 40, ["--size", "30000000"])
      }
      // Until all the buffers on the way are full, which is when every client has something left to send for a second.
      var heldUp = 0
      try eventually("the clients go on sending", within: 30) {
        usleep(200_000)
        let queues = try topology.outside.exec("ss", "-Htn", "state", "established", "dport = :8080").lines
        let waiting = queues.compactMap { Int($0.split(separator: " ")[1]) }.filter { $0 > 0 }
        heldUp = waiting.count == 4 ? heldUp + 1 : 0
        return heldUp == 5
      }
      let memory = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
      let anonymous = try #require(memory.firstMatch(of: /RssAnon:\s+(\d+) kB/).flatMap { Int($0.1) })
      #expect(anonymous < 8_000, "the proxy keeps what its backend does not read: \(anonymous) kB")
    }
  }

  @Test(arguments: [0, 1, 1472, 9000, 65507])
  func datagramsOfEverySize(_ size: Int) throws {
    try relay(.udp, "echo", ["--size", "\(size)"]) { answer, _, _ in
      #expect(answer.text == "echoed \(size)", "\(answer)")
    }
  }

  @Test func answersComeFromTheAddressThatWasAsked() throws {
    try withTopology { topology in
      try topology.web.serve(.udp, Address.web, "80", name: "web")
      try topology.host.ip("addr", "add", "192.0.2.77/24", "dev", "eth0")
      try topology.host.ip("addr", "add", "2001:db8:1::77/64", "dev", "eth0", "nodad")
      try topology.portmap("map", "8080:80/udp", "--proxy-only", "--to", Address.web)
      // The client's socket is connected: it takes no answer from any other address.
      for address in [Address.host, "192.0.2.77", Address.bridge, Address.host6, "2001:db8:1::77"] {
        let answer = try topology.outside.ask(.udp, address, 8080)
        #expect(answer.name == "web", "\(address): \(answer)")
      }
    }
  }

  @Test func clientsAreKeptApart() throws {
    try withTopology { topology in
      try topology.web.serve(.udp, Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80/udp", "--proxy-only", "--to", Address.web)
      let children = try (0..<8).map { number in
        try topology.outside.startAsking(
          .udp,
          Address.host,
          8080,
          timeout: 3,
          ["--payload", "number-\(number)"]
        )
      }
      for (number, child) in children.enumerated() {
        #expect(Answer(child.wait()).text.hasSuffix(" number-\(number)"))
      }
    }
  }

  @Test func manyConnectionsInARow() throws {
    try withTopology { topology in
      // One connection hides a race that a hundred show.
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      let ask = "\(Tools.probe) ask tcp 127.0.0.1 8080 --timeout 2"
      let outcome = try topology.host.exec("sh", "-c", "for i in $(seq 100); do \(ask) || exit 1; done")
      #expect(outcome.lines.count == 100)
    }
  }
}
