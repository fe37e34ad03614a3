import Foundation
import Testing

/// Input and surroundings that mean no good.
@Suite struct HostileTests {
  typealias Address = Topology.Address

  @Test func textThatWouldBeRulesElsewhere() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      for text in [
        "10.99.0.2 -j ACCEPT", "10.99.0.2\n-A INPUT -j DROP", "10.99.0.2;id", "$(id)", "web\nCOMMIT", "-j",
        "--to",
      ] {
        for arguments in [
          ["map", "8080:80", "--to=\(text)"], ["map", "8080:80", "--host-ip=\(text)", "--to", Address.web],
          ["map", "\(text):8080:80", "--to", Address.web], ["alloc", "--ip", "--name=\(text)"],
          ["alloc", "--ip", "--bridge=\(text)"], ["alloc", "--netns=\(text)"],
          ["alloc", "--ip", "--subnet=\(text)"],
        ] {
          let outcome = try topology.portmap.run(arguments, status: nil)
          #expect(outcome.status == 2, "\(outcome)")
        }
      }
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func twoThousandSpecs() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let specs = (0..<2000).map { "\(10000 + $0):80/\($0 % 2 == 0 ? "tcp" : "udp")" }
      let outcome = try topology.portmap.run(["map", "--to", Address.web] + specs)
      #expect(outcome.lines.count == 2000)
      #expect(try topology.host.translations().count == 2000)
      #expect(try topology.host.processes().count == 1)
      try topology.portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func anEmptyEnvironment() throws {
    try withHost { portmap, host in
      var bare = portmap
      bare.prefix = ["/usr/bin/env", "-i"]
      #expect(try bare("--version").stdout.hasPrefix("portmap "))
      #expect(try bare("alloc", "--state-dir", portmap.state, "8080").stdout == "8080\n")
      try bare("unmap", "--state-dir", portmap.state, "8080")
      #expect(try host.processes().isEmpty)
    }
  }

  /// A caller that ignores SIGCHLD, as some servers do, hands that on.
  @Test func failuresUnderACallerThatIgnoresItsChildren() throws {
    try withTopology { topology in
      var portmap = try topology.portmap(with: ["iptables-restore": "exit 1"])
      portmap.prefix.insert("--ignore-signal=CHLD", at: 1)
      try portmap("map", "8080:80", "--to", Address.web, status: 1)
      #expect(try topology.portmap.list().isEmpty)
      try portmap("alloc", "--", "sh", "-c", "exit 7", status: 7)
    }
  }

  @Test func programsThatTalkTooMuch() throws {
    try withTopology { topology in
      let shim = "head -c 3000000 /dev/zero | tr '\\0' x >&2; exec \"$real\" \"$@\""
      let portmap = try topology.portmap(with: ["iptables-restore": shim, "ip": shim])
      #expect(try portmap("map", "8080:80", "--to", Address.web).stdout == "8080->10.99.0.2:80\n")
      let failing = try topology.portmap(with: [
        "iptables-restore": "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1"
      ])
      let outcome = try failing("map", "8081:80", "--to", Address.web, status: 1)
      #expect(outcome.stderr.count < 100_000, "all of it: \(outcome.stderr.count)")
    }
  }

  @Test func programsThatLeaveSomebodyOnThePipe() throws {
    try withTopology { topology in
      let portmap = try topology.portmap(with: ["iptables-restore": "sleep 30 & exec \"$real\" \"$@\""])
      let start = Date()
      let outcome = try portmap.start(["map", "8080:80", "--to", Address.web]).wait()
      #expect(outcome.status == 0 && Date().timeIntervalSince(start) < 9, "\(outcome)")
    }
  }

  @Test func programsThatNeverReturn() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = try topology.portmap(with: ["iptables-restore": "exec sleep 30"])
      let start = Date()
      let outcome = try portmap.start(["map", "8080:80", "--to", Address.web]).wait()
      #expect(outcome.status == 1 && outcome.stderr.contains("iptables-restore"), "\(outcome)")
      #expect((8...18).contains(Date().timeIntervalSince(start)))
      try topology.host.expectUnchanged(before)
      #expect(try topology.portmap.list().isEmpty)
    }
  }
}
