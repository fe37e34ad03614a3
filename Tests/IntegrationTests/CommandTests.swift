import Foundation
import Testing

/// `map … -- CMD` and `alloc … -- CMD`: what is given lives as long as the command.
@Suite struct CommandTests {
  typealias Address = Topology.Address

  @Test func aMappingLivesAsLongAsItsCommand() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      let before = try topology.host.snapshot()
      let child = try topology.portmap.start([
        "map", "8080:80/tcp+udp", "--to", Address.web, "--", "sh", "-c",
        "trap 'exit 7' USR1; echo begun; while :; do sleep 0.05; done",
      ])
      // Nothing is printed but what the command prints.
      #expect(child.line() == "begun")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try topology.host.ask(.udp, "127.0.0.1", 8080).name == "web")
      #expect(try topology.portmap.list().mappings.count == 2)
      child.signal(SIGUSR1)
      let outcome = child.wait()
      #expect(outcome.status == 7 && outcome.stdout == "begun\n", "\(outcome)")
      try topology.host.expectUnchanged(before)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  @Test(arguments: [
    (["true"], 0), (["false"], 1), (["sh", "-c", "exit 200"], 200), (["sh", "-c", "kill -KILL $$"], 137),
    (["sh", "-c", "kill -TERM $$"], 143), (["/etc/passwd"], 126), (["/nonexistent"], 127),
    (["no-such-command"], 127),
  ])
  func itsStatusIsPortmaps(_ command: [String], _ status: Int) throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      for arguments in [
        ["map", "8080:80", "--to", Address.web], ["map", "8080:80", "--proxy-only", "--to", Address.web],
        ["alloc"],
      ] {
        let outcome = try topology.portmap.run(arguments + ["--"] + command, status: Int32(status))
        #expect(outcome.stdout.isEmpty, "\(outcome)")
        try topology.host.expectUnchanged(before)
        #expect(try topology.portmap.list().isEmpty)
      }
    }
  }

  @Test func portmapsOwnFailures() throws {
    try withTopology { topology in
      try topology.host.serve(.tcp, "0.0.0.0", "8080", name: "stranger")
      let processes = try topology.host.processes()
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80", "--to", Address.web, "--", "true", status: 125)
      try topology.portmap("alloc", "8080", "--", "true", status: 125)
      try topology.portmap("map", "80/TCP", "--to", Address.web, "--", "true", status: 2)
      try topology.portmap("alloc", "80/TCP", "--", "true", status: 2)
      try topology.host.expectUnchanged(before, processes: processes)
    }
  }

  @Test(arguments: [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])
  func signalsArePassedOn(_ signal: Int32) throws {
    try withHost { portmap, host in
      let script = "trap 'echo got; exit 3' \(signal); echo begun; while :; do sleep 0.05; done"
      let child = try portmap.start(["alloc", "--", "sh", "-c", script])
      #expect(child.line() == "begun")
      child.signal(signal)
      let outcome = child.wait(timeout: 5)
      #expect(outcome.status == 3 && outcome.stdout == "begun\ngot\n", "\(outcome)")
      #expect(try portmap.list().isEmpty)
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func aMappingsCommandInheritsNoSocket() throws {
    try withTopology { topology in
      let outcome = try topology.portmap(
        "map",
        "8080:80",
        "--to",
        Address.web,
        "--",
        "sh",
        "-c",
        "ls -l /proc/self/fd; echo ${LISTEN_FDS-none}"
      )
      #expect(!outcome.stdout.contains("socket:") && outcome.lines.last == "none", "\(outcome)")
      #expect(!outcome.stdout.contains(topology.portmap.state), "\(outcome)")
    }
  }

  @Test func itOutlivesAPortmapThatIsKilled() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let before = try topology.host.snapshot()
      let child = try topology.portmap.start([
        "map", "8080:80", "--to", Address.web, "--", "sh", "-c", "echo $$; exec sleep 60",
      ])
      let command = try #require(pid_t(child.line() ?? ""))
      child.signal(SIGKILL)
      let killed = child.wait()
      #expect(killed.status == 128 + SIGKILL && killed.keptOpen, "the command went with portmap: \(killed)")
      // The command keeps what it has, whatever else is done meanwhile.
      try topology.portmap("alloc", "9000")
      try topology.portmap("unmap", "9000")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      kill(command, SIGKILL)
      try eventually("the mapping outlives its command") {
        try topology.portmap("unmap", "--if-exists", "1")
        return try topology.portmap.list().isEmpty
      }
      try topology.host.expectUnchanged(before)
    }
  }
}
