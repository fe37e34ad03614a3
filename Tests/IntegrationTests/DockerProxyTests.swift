import Foundation
import Testing

/// The program under the name `docker-proxy`, as dockerd starts it: descriptors 3 and 4, signals, the parent's end.
@Suite struct DockerProxyTests {
  typealias Address = Topology.Address

  /// Makes the link by which it is docker's proxy.
  private func link(_ topology: Topology) throws -> String {
    let path = topology.folder + "/docker-proxy"
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: Tools.portmap)
    return path
  }

  private func flags(_ transport: Transport, _ address: String, _ port: Int, to backend: String = Address.web)
    -> [String]
  {
    [
      "-proto", transport.rawValue, "-host-ip", address, "-host-port", "\(port)", "-container-ip", backend,
      "-container-port", "80",
    ]
  }

  /// Runs the words behind it with descriptor 3 in the place of stdout, and stdout in that of stderr.
  private static let reporting = ["sh", "-c", "exec \"$0\" \"$@\" 3>&1 1>&2"]
  /// The same with the socket that `probe activate` opens as descriptor 4.
  private static let handing = ["sh", "-c", "exec \"$0\" \"$@\" 4<&3 3>&1 1>&2"]

  /// Starts it, and waits until it says that it listens.
  @discardableResult
  private func start(
    _ topology: Topology,
    _ proxy: String,
    _ flags: [String],
    at location: SourceLocation = #_sourceLocation
  ) throws -> ChildProcess {
    let process = try topology.host.start(Self.reporting + [proxy] + flags)
    try #require(process.line() == "0", "\(process.wait(timeout: 1))", sourceLocation: location)
    return process
  }

  @Test func addressesOfBothFamilies() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.web.serveBoth(Address.web6, "80", name: "web6")
      let before = try topology.host.snapshot()
      let proxy = try link(topology)
      for transport in Transport.allCases {
        // dockerd starts one for each family, on the same port.
        try start(topology, proxy, flags(transport, "0.0.0.0", 8080))
        #expect(try topology.outside.ask(transport, Address.host, 8080).peer == Address.bridge)
        #expect(try topology.outside.ask(transport, Address.host6, 8080).verdict == .refused)
        try start(topology, proxy, flags(transport, "::", 8080, to: Address.web6))
        #expect(try topology.outside.ask(transport, Address.host6, 8080).name == "web6")
        #expect(try topology.outside.ask(transport, Address.host, 8080).name == "web")
        try start(topology, proxy, flags(transport, "::", 8081))
        #expect(try topology.host.ask(transport, "::1", 8081).name == "web")
        #expect(try topology.host.ask(transport, "127.0.0.1", 8081).verdict == .refused)
        try start(topology, proxy, flags(transport, "127.0.0.1", 8082))
        try start(topology, proxy, flags(transport, "::1", 8082))
        for address in ["127.0.0.1", "::1"] {
          #expect(try topology.host.ask(transport, address, 8082).name == "web")
        }
        for address in [Address.host, Address.host6] {
          #expect(try topology.outside.ask(transport, address, 8082).verdict == .refused)
        }
        try start(topology, proxy, flags(transport, Address.host, 8083))
        #expect(try topology.outside.ask(transport, Address.host, 8083).name == "web")
        #expect(try topology.host.ask(transport, Address.bridge, 8083).verdict == .refused)
      }
      #expect(try topology.host.snapshot() == before)
      #expect(!FileManager.default.fileExists(atPath: topology.portmap.state))
    }
  }

  @Test func itSaysOneWordAndHasNoPrivileges() throws {
    try withTopology { topology in
      let proxy = try link(topology)
      let flags = flags(.tcp, "0.0.0.0", 8080)
      // The pipe ends with the word: who waits for more would wait for as long as the proxy runs.
      let script = "\"$0\" \"$@\" 3>&1 1>&2 | { cat; echo end; sleep 60; }"
      let process = try topology.host.start(["sh", "-c", script, proxy] + flags)
      #expect(process.line() == "0" && process.line() == "end")
      let pids = try topology.host.processes()
      let pid = try #require(pids.first { comm(of: $0) == "docker-proxy" })
      let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
      for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
      {
        #expect(status.contains(line), "\(status)")
      }
    }
  }

  @Test func portsThatItCannotHave() throws {
    try withTopology { topology in
      let proxy = try link(topology)
      let stranger = try topology.host.serve(.tcp, Address.host, "8080", name: "stranger")
      let cases = [
        (
          flags(.tcp, "0.0.0.0", 8080),
          "listen tcp4 0.0.0.0:8080: bind: address already in use, by probe (process \(stranger.pid))"
        ),
        (flags(.udp, "192.0.2.9", 8080), "listen udp4 192.0.2.9:8080: bind: cannot assign requested address"),
        (
          flags(.udp, "2001:db8:1::9", 53),
          "listen udp6 [2001:db8:1::9]:53: bind: cannot assign requested address"
        ),
      ]
      for (flags, error) in cases {
        let outcome = try topology.host.exec(Self.reporting + [proxy] + flags, status: 1)
        #expect(outcome.stdout == "1\n" + error && outcome.stderr.isEmpty, "\(outcome)")
      }
      let mistake = try topology.host.exec(Self.reporting + [proxy, "-proto", "ipx"], status: 2)
      #expect(mistake.stdout == "1\ninvalid value 'ipx' for -proto", "\(mistake)")
      // A person has no pipe there.
      let person = try topology.host.exec([proxy] + flags(.tcp, Address.host, 8080), status: 1)
      #expect(
        person.stderr.hasPrefix("docker-proxy: listen tcp4 192.0.2.1:8080: bind: address already in use")
      )
      for word in ["-v", "--version"] {
        let outcome = try topology.host.exec(proxy, word)
        #expect(outcome.stdout.hasPrefix("docker-proxy (portmap) version "), "\(outcome)")
      }
    }
  }

  @Test func aSocketThatItIsHanded() throws {
    try withTopology { topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      let proxy = try link(topology)
      let backend = ["-container-ip", Address.web, "-container-port", "80", "-use-listen-fd"]
      let hand = { (socket: String) in
        [Tools.probe, "activate", socket, "--"] + Self.handing + [proxy] + backend
      }
      for (transport, address) in [
        (Transport.tcp, "0.0.0.0"), (.udp, "0.0.0.0"), (.tcp, "::1"), (.udp, "::"),
      ] {
        let port = 8080 + (address == "0.0.0.0" ? 0 : 1)
        let socket = "\(transport.rawValue)/\(address)/\(port)"
        let process = try topology.host.start(hand(socket) + ["-proto", transport.rawValue])
        try #require(process.line() == "0", "\(process.wait(timeout: 1))")
        let asked = address == "::1" ? "::1" : address == "::" ? Address.host6 : Address.host
        let asking = address == "::1" ? topology.host : topology.outside
        #expect(try asking.ask(transport, asked, port).name == "web")
        process.signal(SIGINT)
        #expect(process.wait().status == 0)
        #expect(try topology.host.sockets(transport, port).isEmpty)
      }
      let other = try topology.host.exec(hand("udp/0.0.0.0/8080") + ["-proto", "tcp"], status: 1)
      #expect(other.stdout == "1\n-use-listen-fd: descriptor 4 is no tcp socket that listens", "\(other)")
      let none = try topology.host.exec(Self.reporting + [proxy] + backend, status: 1)
      #expect(none.stdout == "1\n-use-listen-fd: descriptor 4 is not open", "\(none)")
    }
  }

  @Test(arguments: [SIGTERM, SIGINT])
  func aSignalClosesEverything(_ signal: Int32) throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      let process = try start(topology, try link(topology), flags(.tcp, "0.0.0.0", 8080))
      let client = try topology.outside.startAsking(.tcp, Address.host, 8080, timeout: 10)
      try eventually("no connection to the backend") { try topology.host.connections(to: 80) == 1 }
      process.signal(signal)
      #expect(process.wait(timeout: 3).status == 0)
      #expect(Answer(client.wait(timeout: 3)).verdict == .closed)
      #expect(try topology.host.processes().isEmpty)
    }
  }

  /// Starts it from a thread that ends at once, with the signal that dockerd asks the kernel for at that thread's end.
  private static let parent = """
    import ctypes, os, signal, subprocess, sys, threading
    def ask(): ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    def begin():
        os.dup2(0, 3)
        reader, writer = os.pipe()
        os.dup2(writer, 3)
        subprocess.Popen(sys.argv[1:], pass_fds=[3], preexec_fn=ask)
        print(os.read(reader, 2).decode(), end="", flush=True)
    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    while any(task != str(os.getpid()) for task in os.listdir("/proc/self/task")): pass
    print("the thread has ended", flush=True)
    signal.pause()
    """

  @Test func itEndsWithTheProcessThatStartedIt() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let words = [try link(topology)] + flags(.tcp, "0.0.0.0", 8080)
      let parent = try topology.host.start(["python3", "-c", Self.parent] + words)
      try #require(
        parent.line() == "0" && parent.line() == "the thread has ended",
        "\(parent.wait(timeout: 1))"
      )
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      // No word of its own, as dockerd that is killed has none.
      parent.signal(SIGKILL)
      try eventually("it outlives its parent") { try topology.host.processes().isEmpty }
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty)
    }
  }

  @Test func sctpWhereTheKernelHasIt() throws {
    try withTopology { topology in
      var flags = flags(.tcp, "0.0.0.0", 8080)
      flags[1] = "sctp"
      let words = Self.reporting + [try link(topology)] + flags
      if try String(contentsOfFile: "/proc/net/protocols", encoding: .utf8).contains("SCTP ") {
        #expect(try topology.host.start(words).line() == "0")
      } else {
        let outcome = try topology.host.exec(words, status: 1)
        #expect(
          outcome.stdout == "1\nlisten sctp4 0.0.0.0:8080: socket: protocol not supported",
          "\(outcome)"
        )
      }
    }
  }
}

/// What a process is called; nil where there is none.
func comm(of pid: pid_t) -> String? {
  (try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8))?
    .trimmingCharacters(in: .whitespacesAndNewlines)
}
