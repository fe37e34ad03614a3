import Foundation
import Testing

/// What a command gets from its caller by way of portmap: bytes and limits as they were.
@Suite struct CommandBytesTests {
  /// Prints its arguments and a variable in hexadecimal digits.
  private static let teller = """
    import os, sys
    print(*(os.fsencode(word).hex() for word in sys.argv[1:]))
    print(os.environb.get(b"ODD", b"").hex(), os.environb.get(b"\\xff", b"").hex())
    """

  @Test(arguments: ["alloc", "map --proxy-only 8080:80 --to 127.0.0.1", "alloc --lend"])
  func bytesThatAreNoUTF8(_ command: String) throws {
    try withHost { portmap, _ in
      let script = """
        odd=$(printf 'a\\377b\\200'); export ODD="$odd"
        exec /usr/bin/env "$(printf '\\377')=$odd" "$0" \(command) -- python3 -c "$1" "$odd" -- "" "$(printf '\\303\\244')"
        """
      let outcome = try portmap.namespace.exec(
        ["sh", "-c", script, portmap.binary, Self.teller],
        environment: ["PORTMAP_STATE_DIR": portmap.state, "LISTEN_FDS": "7", "LISTEN_PID": "1"]
      )
      #expect(outcome.lines == ["61ff6280 2d2d  c3a4", "61ff6280 61ff6280"], "\(outcome)")
    }
  }

  @Test(arguments: [("1024", "4096"), ("200", "200"), ("512", "1500")])
  func limitsOfOpenFiles(_ soft: String, _ hard: String) throws {
    try withHost { portmap, _ in
      var limited = portmap
      limited.prefix = ["prlimit", "--nofile=\(soft):\(hard)"]
      let script = "ulimit -Sn; ulimit -Hn"
      for command in [["alloc"], ["map", "--proxy-only", "8080:80", "--to", "127.0.0.1"]] {
        let outcome = try limited.run(command + ["--", "sh", "-c", script])
        #expect(outcome.lines == [soft, hard], "\(outcome)")
      }
    }
  }

  /// An ordinary user with few descriptors: it works, or says what it needs.
  @Test(arguments: [64, 65, 80, 128, 256, 512, 1000])
  func lowLimits(_ limit: Int) throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.state = topology.folder + "/users"
      try run(["install", "-d", "-m", "0700", "-o", "65000", "-g", "65000", portmap.state])
      portmap.binary = try topology.readableBinary()
      portmap.prefix = [
        "prlimit", "--nofile=\(limit):\(limit)", "setpriv", "--reuid", "65000", "--regid", "65000",
        "--clear-groups",
      ]
      for count in [1, limit / 3, limit - 65, limit - 60] where count > 0 {
        let script = "ls /proc/self/fd | wc -l; echo $LISTEN_FDS; ulimit -n"
        let outcome = try portmap.run(["alloc", "-c", "\(count)", "--", "sh", "-c", script], status: nil)
        if outcome.status == 0 {
          // ls has the folder open, besides the three that all have.
          #expect(outcome.lines == ["\(count + 4)", "\(count)", "\(limit)"], "\(outcome)")
        } else {
          #expect(outcome.status == 125 && outcome.stderr.contains("open files"), "\(outcome)")
        }
        #expect(count > limit - 130 || outcome.status == 0, "\(outcome)")
        #expect(try topology.host.processes().isEmpty)
      }
    }
  }

  @Test func moreSocketsThanOneMessageCarries() throws {
    try withHost { portmap, _ in
      let script = """
        import os, socket
        sockets = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
        ports = [socket.getsockname()[1] for socket in sockets]
        assert ports == [int(word) for word in os.environ["PORTMAP_PORTS"].split()], ports
        assert os.environ["LISTEN_PID"] == str(os.getpid())
        extra = [name for name in os.listdir("/proc/self/fd") if int(name) >= 3 + len(ports)]
        print(len(ports), len(extra))
        """
      // The one more is the folder that is being listed.
      let outcome = try portmap("alloc", "-c", "600", "--", "python3", "-c", script)
      #expect(outcome.stdout == "600 1\n", "\(outcome)")
    }
  }

  /// The hidden commands do nothing for others.
  @Test(arguments: [["exec"], ["exec", "true"], ["hold"], ["hold", "a1b2c3d4", "0", "0"]])
  func hiddenCommands(_ arguments: [String]) throws {
    try withHost { portmap, host in
      try portmap.run(arguments, status: 2)
      #expect(try host.processes().isEmpty)
    }
  }
}
