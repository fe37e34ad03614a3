import Foundation
import Testing

/// A command that portmap runs keeps the terminal: what is typed reaches it, and Ctrl-C once.
@Suite struct TerminalTests {
  /// Types at a terminal of its own: Ctrl-C, then a line; in between portmap is sent a signal. portmap sees Ctrl-C
  /// late: a signal that it passed on at once could be taken for the terminal's.
  private static let terminal = """
    import os, pty, signal, sys, time
    pid, terminal = pty.fork()
    if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
    shown = b""
    def await_text(text):
        global shown
        while text not in shown: shown += os.read(terminal, 1000)
    def pending(pid):
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("ShdPnd:"): return int(line.split()[1], 16) & 1 << signal.SIGINT - 1
    signal.alarm(15)
    await_text(b"begun")
    os.kill(pid, signal.SIGSTOP)
    os.write(terminal, b"\\x03")
    await_text(b"interrupted 1")
    os.kill(pid, signal.SIGCONT)
    while pending(pid): time.sleep(0.01)
    os.kill(pid, signal.SIGINT)
    await_text(b"interrupted 2")
    # Time for a third, which must not come.
    time.sleep(0.2)
    os.write(terminal, b"hello\\n")
    await_text(b"read hello, interrupted 2")
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """

  /// Counts each signal as it comes: Python's own handlers may take two for one.
  private static let command = """
    import os, signal, sys, threading
    count, (end, start) = 0, os.pipe()
    os.set_blocking(start, False)
    signal.set_wakeup_fd(start)
    signal.signal(signal.SIGINT, lambda *_: None)
    def tell():
        global count
        while os.read(end, 1):
            count += 1
            print("interrupted", count, flush=True)
    threading.Thread(target=tell, daemon=True).start()
    print("begun", flush=True)
    line = sys.stdin.readline().strip()
    print(f"read {line}, interrupted {count}", flush=True)
    os._exit(7)
    """

  @Test(arguments: [["alloc"], ["map", "--proxy-only", "8080:80", "--to", "192.0.2.7"]])
  func ctrlCReachesTheCommandOnce(_ arguments: [String]) throws {
    try withHost { portmap, _ in
      var typed = portmap
      typed.prefix = ["python3", "-c", Self.terminal]
      let outcome = try typed.run(arguments + ["--", "python3", "-c", Self.command])
      #expect(outcome.stdout == "7\n")
      #expect(try portmap.list().isEmpty)
    }
  }

  /// Runs a command at a terminal, and prints what that shows.
  private static let watcher = """
    import os, pty, sys
    pid, terminal = pty.fork()
    if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
    shown = b""
    while True:
        try: part = os.read(terminal, 1000)
        except OSError: break
        if not part: break
        shown += part
    sys.stdout.write(repr(shown.decode()) + "\\n")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """

  /// A probe of a port that does not answer takes two seconds.
  @Test func longWorkShowsItself() throws {
    try withTopology { topology in
      try topology.web.exec("iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP")
      try topology.portmap("map", "8080:80", "--to", Topology.Address.web)
      var seen = topology.portmap
      seen.prefix = ["python3", "-c", Self.watcher]
      let outcome = try seen("check", "--probe", "8080", status: 1)
      // One line, which goes before something else is said.
      #expect(outcome.stdout.contains("portmap: check 8080 ... 1 s\\r    "), "\(outcome)")
      #expect(outcome.stdout.contains("  \\r10.99.0.2:80: no answer in 2 seconds"), "\(outcome)")
      #expect(try !seen("check", "8080").stdout.contains("..."))
      // A line that goes on in the next one could not be taken away.
      var narrow = seen
      narrow.prefix = ["python3", "-c", Self.watcher, "/bin/sh", "-c", #"stty cols 20; exec "$@""#, "sh"]
      let short = try narrow("check", "--probe", "8080", status: 1)
      #expect(short.stdout.contains("portmap: ch ... 1 s\\r    "), "\(short)")
      seen.environment["TERM"] = "dumb"
      #expect(try !seen("check", "--probe", "8080", status: 1).stdout.contains("..."))
      // Not where nobody sees it.
      #expect(try !topology.portmap("check", "--probe", "8080", status: 1).stderr.contains("..."))
    }
  }
}
