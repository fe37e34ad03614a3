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

  /// What is quoted cannot speak to the terminal: no control character but line feed, no C1, no bidi, no separator.
  @Test func controlCharactersAreShown() throws {
    try withTopology { topology in
      let evil = "\u{1B}[31m\u{7}\u{7F}\u{9B}2J\u{202E}\u{2028}\r\n\t"
      let shown =
        "\\x1b[31m\\x07\\x7f\\xc2\\x9b2J\\xe2\\x80\\xae\\xe2\\x80\\xa8\\x0d\\x0a\\x09"
      for arguments in [
        ["map", "80\(evil)", "--to", Address.web], ["map", "8080:80", "--to=\(evil)"], ["alloc", evil],
        ["unmap", evil], ["list", evil], [evil], ["list", "--\(evil)"], ["--\(evil)"], ["help", evil],
        ["alloc", "--ip", "--name", evil], ["alloc", "--netns", evil], ["alloc", "--range=\(evil)"],
        ["alloc", "--ip", "--bridge", evil], ["alloc", "--ip", "--subnet", evil], ["alloc", "-c\(evil)"],
        ["alloc", "--host-ip", evil], ["proxy", "8080", evil], ["proxy", "--udp-timeout", evil, "1", "2"],
        ["check", evil], ["repair", evil], ["alloc", "--", "/\(evil)"],
        ["alloc", "--state-dir", "/proc/\(evil)"],
      ] {
        let outcome = try topology.portmap.run(arguments, status: nil)
        #expect(outcome.status != 0 && outcome.stderr.contains(shown), "\(outcome)")
        expectPrintable(outcome)
      }
    }
  }

  /// Bytes that are no text, as one byte of a C1 control character.
  @Test func bytesThatAreNoUTF8() throws {
    try withHost { portmap, _ in
      let outcome = try portmap.shell("\"$0\" alloc \"$(printf '80\\2332J\\377')\"", status: 2)
      #expect(outcome.stderr.hasPrefix("portmap: invalid spec '80"), "\(outcome)")
      expectPrintable(outcome)
    }
  }

  /// The names of other users' processes are theirs to choose: in hints, and in what check finds.
  @Test func namesOfProcesses() throws {
    try withHost { portmap, host in
      try portmap("alloc", "8080")
      for pid in try host.processes() { kill(pid, SIGKILL) }
      let stranger = try host.start([
        "setpriv", "--reuid", "65000", "--clear-groups", "python3", "-c", Self.stranger,
      ])
      #expect(stranger.line() == "ready")
      let outcome = try portmap("proxy", "8080", "192.0.2.7:80", status: 3)
      #expect(outcome.stderr.contains("\nhint: \\x1b[2J\\xe2\\x80\\xaex (process "), "\(outcome)")
      expectPrintable(outcome)
      let check = try portmap("check", status: 1)
      #expect(check.stdout.contains("\\x1b[2J\\xe2\\x80\\xaex (process "), "\(check)")
      expectPrintable(check)
      withExtendedLifetime(stranger) {}
    }
  }

  /// Listens on a port under a name that clears the screen.
  private static let stranger = """
    import signal, socket
    open("/proc/self/comm", "w").write("\\x1b[2J\\u202ex")
    listener = socket.create_server(("", 8080))
    print("ready", flush=True)
    signal.alarm(30)
    signal.pause()
    """

  private func expectPrintable(_ outcome: Outcome, at location: SourceLocation = #_sourceLocation) {
    let unwanted = (outcome.stdout + outcome.stderr).unicodeScalars.filter {
      switch $0.properties.generalCategory {
      case .control: $0 != "\n"
      case .format, .lineSeparator, .paragraphSeparator: true
      default: false
      }
    }
    #expect(unwanted.isEmpty, "\(outcome)", sourceLocation: location)
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
      let late = try topology.portmap(with: [
        "iptables-restore": "seq -f 'line %.0f' 200000 >&2; printf 'why:\\n\\tbecause\\n' >&2; exit 1"
      ])
      let lines = try late("map", "8081:80", "--to", Address.web, status: 1).stderr.split(separator: "\n")
      #expect(lines.suffix(3) == ["  line 200000", "  why:", "  \\x09because"], "\(lines.suffix(4))")
      #expect(lines.first?.wholeMatch(of: /portmap: cannot map 8081:80: .* with status 1: line \d+/) != nil)
      #expect(lines.count < 1000)
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
