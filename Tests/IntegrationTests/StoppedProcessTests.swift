import Foundation
import Testing

/// Processes that do not answer, or answer late: every wait comes to an end, and nobody is taken for somebody else.
@Suite struct StoppedProcessTests {
  /// Reserves 8080, stops the process that holds it, and fills the queue of its control socket. `goOn` undoes both.
  private func withStopped(
    _ body: (_ portmap: Portmap, _ host: Namespace, _ pid: pid_t, _ goOn: () -> Void) throws -> Void
  ) throws {
    try withHost { portmap, host in
      try portmap("alloc", "8080")
      let pid = try #require(try portmap.list().reservations.first).pid
      kill(pid, SIGSTOP)
      let waiting = try ControlSocket.fillQueue(in: portmap.state)
      try body(portmap, host, pid) {
        waiting.forEach { $0.hangUp() }
        kill(pid, SIGCONT)
      }
    }
  }

  @Test func aStoppedProcessIsNamedAndEnded() throws {
    try withStopped { portmap, host, _, _ in
      let check = try portmap("check", status: 1)
      #expect(check.stdout.contains("does not answer"), "\(check)")
      try portmap("unmap", "8080")
      #expect(try host.processes().isEmpty)
      #expect(try host.sockets(.tcp, 8080).isEmpty)
    }
  }

  @Test func aStoppedProcessIsReplaced() throws {
    try withStopped { portmap, host, pid, _ in
      try portmap("repair")
      try portmap("check")
      #expect(try host.processes() == [try #require(try portmap.list().reservations.first).pid])
      #expect(try host.processes() != [pid])
    }
  }

  @Test func whoeverWaitsForItHearsASignal() throws {
    try withStopped { portmap, host, pid, goOn in
      for arguments in [["check"], ["map", "8080:80", "--proxy-only", "--to", "127.0.0.1"]] {
        let child = try portmap.start(arguments)
        #expect(child.line(timeout: 1) == nil, "it does not wait")
        let start = Date()
        child.signal(SIGTERM)
        let outcome = child.wait()
        #expect(outcome.status > 0 && Date().timeIntervalSince(start) < 2, "\(outcome)")
      }
      #expect(try portmap.list().reservations.map(\.pid) == [pid])
      goOn()
      try portmap("check")
    }
  }

  @Test func whatItHoldsCannotBeTakenOver() throws {
    try withStopped { portmap, _, _, goOn in
      let outcome = try portmap("map", "8080:80", "--proxy-only", "--to", "127.0.0.1", status: 1)
      #expect(outcome.stderr.contains("does not answer"), "\(outcome)")
      goOn()
      try portmap("check")
    }
  }

  // MARK: at the start

  /// Starts `alloc 8080` and stops its background process before that does anything.
  private func withSlowStart(
    _ body: (ChildProcess, pid_t, Portmap, Namespace) throws -> Void
  ) throws {
    try withHost { portmap, host in
      let (command, pid) = try portmap.start(["alloc", "8080"], holdingUp: "hold")
      defer { kill(pid, SIGKILL) }
      try body(command, pid, portmap, host)
    }
  }

  @Test func aSlowStartIsWaitedFor() throws {
    try withSlowStart { command, pid, portmap, host in
      #expect(command.line(timeout: 7) == nil)
      kill(pid, SIGCONT)
      let outcome = command.wait()
      #expect(outcome.status == 0 && outcome.stdout == "8080\n", "\(outcome)")
      #expect(outcome.stderr.contains("waiting for the background process"), "\(outcome)")
      #expect(try portmap.list().reservations.map(\.pid) == [pid])
      try portmap("unmap", "8080")
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func aSlowStartIsGivenUpOnASignal() throws {
    try withSlowStart { command, _, portmap, host in
      #expect(command.line(timeout: 1) == nil)
      let start = Date()
      command.signal(SIGTERM)
      let outcome = command.wait()
      #expect(outcome.status == 128 + SIGTERM && Date().timeIntervalSince(start) < 3, "\(outcome)")
      #expect(try host.processes().isEmpty)
      #expect(try portmap.list().isEmpty)
      try portmap("check")
      try portmap("alloc", "8080")
    }
  }

  @Test func aProcessThatDiesAtItsStart() throws {
    try withSlowStart { command, pid, portmap, host in
      kill(pid, SIGKILL)
      let outcome = command.wait()
      #expect(outcome.status == 1 && outcome.stderr.contains("it ended meanwhile"), "\(outcome)")
      #expect(try host.processes().isEmpty)
      try portmap("check")
    }
  }

  // MARK: with a command

  @Test func aCommandThatIsStoppedBeforeItBegins() throws {
    try withHost { portmap, host in
      let (command, stage) = try portmap.start(["alloc", "8080", "--", "sleep", "60"], holdingUp: "exec")
      defer { kill(stage, SIGKILL) }
      #expect(command.line(timeout: 1) == nil)
      let start = Date()
      command.signal(SIGTERM)
      let outcome = command.wait()
      #expect(outcome.status == 128 + SIGTERM && Date().timeIntervalSince(start) < 3, "\(outcome)")
      #expect(try host.processes().isEmpty)
      #expect(try portmap.list().isEmpty)
    }
  }
}
