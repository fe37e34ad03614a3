import Foundation
import Testing

/// The background process says what it could not do, why it does not do what it is asked, and, on request, what it does.
@Suite struct VoiceTests {
  typealias Address = Topology.Address

  /// Fewer descriptors than it needs for the sockets.
  @Test func whatItCouldNotDoAtItsStart() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      let (command, pid) = try portmap.start(["alloc", "8080", "8081"], holdingUp: "hold")
      try run(["prlimit", "--pid", "\(pid)", "--nofile=6:6"])
      kill(pid, SIGCONT)
      let outcome = command.wait()
      #expect(outcome.status == 1, "\(outcome)")
      #expect(outcome.stderr.contains("it could not start: recvmsg: too many open files"), "\(outcome)")
      try host.expectUnchanged(before)
      try portmap("check")
    }
  }

  /// Messages of version 0.1.0 and of nobody, to a process that serves 8080 and holds 8081.
  @Test func answersToEveryVersion() throws {
    try withHost { portmap, _ in
      let mapping = try #require(try portmap.map("8080:80", "--proxy-only", "--to", "127.0.0.1").first)
      let control = try ControlSocket(in: portmap.state)
      let id = Array(mapping.id.utf8)
      let description = try control.ask([1, 5])
      #expect(description.count == 57 && Array(description[..<10]) == [1, 130] + id)
      #expect(try control.next() == [1, 130])
      #expect(
        try control.ask([1, 3] + id) == [1, 129, 0, 0, 0, 0],
        "the socket comes with it, though it is served"
      )
      #expect(try control.ask([1, 3] + Array("a0000000".utf8)) == [1, 132, 1])
      let cookie = try #require(UInt64(portmap.namespace.exec(Tools.probe, "cookie").lines[0]))
      #expect(try control.ask([1, 6]) == [1, 134] + withUnsafeBytes(of: cookie.bigEndian, Array.init))
      for message: [UInt8] in [[1, 2], [1, 99], [2, 5], [1, 5, 0], [0]] {
        #expect(try control.ask(message) == [1, 132, 3], "\(message)")
      }
      #expect(try control.ask([1, 4] + Array("a0000000".utf8)) == [1, 128])
      #expect(try control.ask([1, 4] + id) == [1, 128])
      #expect(try control.next().isEmpty, "it ends with the last that it holds")
      // As a command that was killed meanwhile leaves it.
      try portmap("check", status: 1)
      try portmap("repair")
      try portmap("unmap", "8080")
    }
  }

  @Test func whatItDoesIfAsked() throws {
    try withHost { portmap, host in
      let log = "\(portmap.state)-log"
      let script = "PORTMAP_DEBUG=$2 \"$0\" alloc 8080 8081/udp 2>>\"$1\""
      func allocate(_ value: String) throws -> Outcome {
        try portmap.namespace.exec(
          ["sh", "-c", script, portmap.binary, log, value],
          environment: ["PORTMAP_STATE_DIR": portmap.state]
        )
      }
      for value in ["1", ""] {
        let outcome = try allocate(value)
        #expect(!outcome.keptOpen)
        try portmap("unmap", "8080", "8081/udp")
        #expect(try host.processes().isEmpty)
      }
      let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
      #expect(lines.allSatisfy { $0.hasPrefix("portmap: background process ") }, "\(lines)")
      for words in [
        "holds 8080 (", "holds 8081/udp (", "serves 0 sockets", "released 8080 (", "released everything",
      ] {
        #expect(lines.filter { $0.contains(words) }.count == 1, "\(words): \(lines)")
      }
    }
  }
}
