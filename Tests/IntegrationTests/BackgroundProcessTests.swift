import Foundation
import Testing

/// The process that a command leaves behind: nothing in it that is worth stealing, nothing held but its sockets.
@Suite struct BackgroundProcessTests {
  typealias Address = Topology.Address

  private func expectHarmless(_ pid: pid_t, uid: ClosedRange<Int>) throws {
    let text = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    let fields = Dictionary(
      text.split(separator: "\n").map { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        return (String(parts[0]), parts.count > 1 ? parts[1].split(whereSeparator: \.isWhitespace) : [])
      },
      uniquingKeysWith: { $1 }
    )
    for name in ["Uid", "Gid"] {
      let ids = try #require(fields[name]).compactMap { Int($0) }
      #expect(ids.count == 4 && ids.allSatisfy { uid.contains($0) }, "\(name): \(ids)")
    }
    #expect(fields["Groups"] == [])
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
      #expect(fields[name] == ["0000000000000000"], "\(name): \(fields[name] ?? [])")
    }
    #expect(fields["NoNewPrivs"] == ["1"])
    #expect(getsid(pid) == pid)
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd") == "/")
    let folder = "/proc/\(pid)/fd"
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      let target = try FileManager.default.destinationOfSymbolicLink(atPath: folder + "/" + name)
      let own = ["socket:", "anon_inode:", "/dev/null"].contains { target.hasPrefix($0) }
      #expect(own, "descriptor \(name) is \(target)")
    }
  }

  @Test func propertiesOfAHolderAndOfAProxy() throws {
    try withTopology { topology in
      // Descriptors of the caller's, which must not be passed on.
      let outcome = try topology.portmap.shell(
        "exec 7</etc/passwd 8>&1; \"$0\" alloc 8080 && \"$0\" map 8081:80/tcp+udp --to 10.99.0.2"
      )
      #expect(outcome.lines.first == "8080")
      #expect(!outcome.keptOpen)
      let pids = try topology.host.processes()
      #expect(pids.count == 2)
      // A range that no distribution, directory or container gives out: users that no one is.
      for pid in pids { try expectHarmless(pid, uid: 0x7F00_0000...0x7F0F_FFFF) }
    }
  }

  /// Where a user namespace has only the first 65536 numbers, it is still nobody's.
  @Test func inAUserNamespaceOfSixteenBits() throws {
    try withTopology { topology in
      let (folder, fifo) = (topology.folder + "/inside", topology.folder + "/mapped")
      try FileManager.default.createDirectory(
        atPath: folder,
        withIntermediateDirectories: false,
        attributes: [.ownerAccountID: 100_000, .posixPermissions: 0o755]
      )
      let inside =
        "read word < \(fifo); exec setpriv --reuid 0 --regid 0 --clear-groups \(try topology.readableBinary()) alloc 8080"
      let script = """
        mkfifo \(fifo)
        unshare --user --keep-caps sh -c '\(inside)' & pid=$!
        while [ "$(readlink /proc/$pid/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.02; done
        for map in uid_map gid_map; do echo 0 100000 65536 > /proc/$pid/$map; done
        echo mapped > \(fifo)
        wait $pid
        """
      var portmap = topology.portmap
      portmap.state = folder
      #expect(try portmap.shell(script).stdout == "8080\n")
      let pids = try topology.host.processes()
      #expect(pids.count == 1)
      for pid in pids { try expectHarmless(pid, uid: 165_520...165_533) }
    }
  }

  @Test func theCallerGoesOnAtOnce() throws {
    try withTopology { topology in
      let outcome = try topology.portmap.shell(
        "port=$(\"$0\" alloc); echo \"got $port\"; line=$(\"$0\" map 80 --to 10.99.0.2 2>&1); echo \"and $line\""
      )
      #expect(outcome.lines.count >= 2 && outcome.lines[0].hasPrefix("got "), "\(outcome)")
      #expect(!outcome.keptOpen, "\(outcome)")
    }
  }

  @Test func itIsNamedByJSONAndEndsWithTheLastOfItsPorts() throws {
    try withHost { portmap, host in
      let mappings = try portmap.map("8080:80", "8081:80/udp", "--proxy-only", "--to", "127.0.0.1")
      let pid = try #require(mappings[0].pid)
      #expect(try host.processes() == [pid])
      try portmap("unmap", "8080")
      #expect(try host.processes() == [pid])
      #expect(try host.sockets(.tcp, 8080).isEmpty)
      try portmap("unmap", "8081/udp")
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func closedStandardStreams() throws {
    try withHost { portmap, host in
      for redirection in ["<&-", "2>&-", "<&- 2>&-"] {
        try portmap.shell("\"$0\" alloc 8080 \(redirection)")
        #expect(try host.sockets(.tcp, 8080).count == 1, "\(redirection)")
        let pids = try host.processes()
        #expect(pids.count == 1, "\(redirection)")
        for pid in pids { try expectHarmless(pid, uid: 0x7F00_0000...0x7F0F_FFFF) }
        try portmap("unmap", "8080")
        #expect(try host.processes().isEmpty, "\(redirection)")
      }
      // A result that cannot be written is a failure.
      for redirection in [">&-", "<&- >&- 2>&-"] {
        try portmap.shell("\"$0\" alloc 8080 \(redirection)", status: 1)
        #expect(try host.sockets(.tcp, 8080).isEmpty, "\(redirection)")
        #expect(try host.processes().isEmpty, "\(redirection)")
      }
    }
  }

  @Test func itDiesOfNothingThatTheCallersTerminalSends() throws {
    try withHost { portmap, host in
      try portmap.shell("\"$0\" alloc 8080; kill -HUP 0", status: 128 + SIGHUP)
      #expect(try host.sockets(.tcp, 8080).count == 1)
      #expect(try host.processes().count == 1)
    }
  }

  @Test func aSignalledCommandIsUndone() throws {
    try withTopology { topology in
      // Once, while the first program runs.
      let called = topology.folder + "/called"
      let portmap = try topology.portmap(with: [
        "iptables-restore": "[ -e \(called) ] || { > \(called); kill -TERM $PPID; }; exec \"$real\" \"$@\""
      ])
      let before = try topology.host.snapshot()
      let outcome = try portmap("map", "8080:80", "--to", Address.web, status: 128 + SIGTERM)
      #expect(outcome.stdout.isEmpty, "\(outcome)")
      #expect(try topology.portmap.list().isEmpty)
      try topology.host.expectUnchanged(before)
    }
  }
}
