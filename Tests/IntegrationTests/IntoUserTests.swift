import Foundation
import Testing

/// `--into` as an ordinary user, whose namespaces are those of the user's own user namespaces.
@Suite struct IntoUserTests {
  typealias Address = Topology.Address

  private static let user = Tools.ordinaryUser

  /// The program as an ordinary user runs it, and a copy of the probe that the user can run.
  private func withUser(_ body: (Portmap, _ probe: String, Topology) throws -> Void) throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.state = topology.folder + "/users"
      try run(["install", "-d", "-m", "0700", "-o", "65000", "-g", "65000", portmap.state])
      portmap.prefix = Self.user
      portmap.binary = try topology.readableBinary()
      let probe = topology.folder + "/probe"
      try run(["install", "-m", "0755", Tools.probe, probe])
      topology.cleanup.add { try portmap("unmap", "--all", status: nil) }
      try body(portmap, probe, topology)
    }
  }

  /// Starts a server in new user and network namespaces of a user; it is the first process in there.
  private func serve(
    _ topology: Topology,
    _ probe: String,
    _ unshare: [String] = ["unshare", "-rn"],
    as user: [String] = Self.user
  ) throws -> ChildProcess {
    let script =
      "ip link set lo up; \"$0\" serve udp 127.0.0.1 80 --name guest >/dev/null & "
      + "exec \"$0\" serve tcp 127.0.0.1 80 --name guest"
    let server = try topology.host.start(user + unshare + ["sh", "-c", script, probe])
    try #require(server.line() == "ready", "\(server.wait(timeout: 0))")
    return server
  }

  @Test(arguments: [
    ["unshare", "-rn"], ["unshare", "-rn", "unshare", "-rn"], ["unshare", "-r", "unshare", "-n"],
  ])
  func namespacesOfTheUsersOwn(_ unshare: [String]) throws {
    try withUser { portmap, probe, topology in
      let server = try serve(topology, probe, unshare)
      let made = try portmap.map("--into", "\(server.pid)", "8080:80/tcp+udp")
      #expect(made.map(\.into) == ["\(server.pid)", "\(server.pid)"])
      for transport in Transport.allCases {
        let answer = try topology.outside.ask(transport, Address.host, 8080)
        #expect(answer.name == "guest" && answer.peer == "127.0.0.1", "\(answer)")
      }
      // The control socket is answered from in there.
      try portmap("check")
      try portmap("unmap", "8080/udp")
      try portmap("map", "--into", "/proc/\(server.pid)/ns/net", "8081:80")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8081).name == "guest")
      // Who has it is known as ever.
      let taken = try portmap("map", "--into", "\(server.pid)", "8080:80", status: 3)
      #expect(taken.stdout.isEmpty)
      for pid in try portmap.list().mappings.compactMap(\.pid) { kill(pid, SIGKILL) }
      try portmap("repair")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "guest")
      let proxy = try portmap.start(["proxy", "--into", "\(server.pid)", "8082", "127.0.0.1:80"])
      #expect(proxy.line() == "8082->127.0.0.1:80")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8082).name == "guest")
      proxy.signal(SIGTERM)
      #expect(proxy.wait().status == 0)
      try portmap("unmap", "--all")
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty)
    }
  }

  @Test func namespacesOfOthers() throws {
    try withUser { portmap, probe, topology in
      let other = ["setpriv", "--reuid", "65001", "--regid", "65001", "--clear-groups"]
      let server = try serve(topology, probe, as: other)
      for name in [topology.web.name, "\(server.pid)", "/proc/\(server.pid)/ns/net", "1"] {
        for command in [["map", "8080:80"], ["proxy", "8080", "127.0.0.1:80"]] {
          let outcome = try portmap.run(command + ["--into", name], status: 4)
          #expect(outcome.stderr.contains("the network namespace \(name) may not be entered"), "\(outcome)")
          #expect(outcome.stderr.contains("hint: root may enter every namespace"), "\(outcome)")
        }
      }
      #expect(try portmap.list().isEmpty)
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty)
      #expect(try topology.host.processes().allSatisfy { comm(of: $0) != "portmap" })
      // Root may.
      try topology.portmap("map", "--into", "\(server.pid)", "8080:80")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "guest")
      try topology.portmap("unmap", "8080")
    }
  }

  @Test func aGuestThatIsStartedAgain() throws {
    try withUser { portmap, probe, topology in
      let server = try serve(topology, probe)
      try portmap("map", "--into", "\(server.pid)", "8080:80")
      server.kill()
      let outcome = try portmap("repair", status: 1)
      #expect(outcome.stderr.contains("there is no process \(server.pid)"), "\(outcome)")
    }
  }

  // MARK: what the guest can do to the proxy

  /// Tries all by which one process gets at another: a line each, the name and the errno.
  private static let pry = """
    import ctypes, os, sys
    pid = int(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    def tell(name, call):
        try:
            result = call()
            print(name, ctypes.get_errno() if result is not None and result < 0 else 0)
        except OSError as error:
            print(name, error.errno)
    tell("seize", lambda: libc.ptrace(0x4206, pid, None, None))
    tell("attach", lambda: libc.ptrace(16, pid, None, None))
    for name in ["mem", "environ", "maps", "syscall"]:
        tell(name, lambda: os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY)) or 0)
    tell("fd", lambda: len(os.listdir(f"/proc/{pid}/fd")))
    tell("exe", lambda: len(os.readlink(f"/proc/{pid}/exe")))
    tell("ns", lambda: os.close(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)) or 0)
    tell("root", lambda: len(os.listdir(f"/proc/{pid}/root/")))
    pidfd = os.pidfd_open(pid)
    for number in range(8):
        tell("getfd", lambda: libc.syscall(438, pidfd, number, 0))
    tell("setns", lambda: libc.setns(pidfd, 0x40000000))
    one = ctypes.create_string_buffer(8)
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    mine = Vector(ctypes.addressof(one), 8)
    theirs = Vector(0x400000, 8)
    tell("vm", lambda: libc.process_vm_readv(pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0))
    """

  /// The root of the user namespace that the proxy has entered is in the same process and user namespaces, and has all
  /// capabilities there.
  @Test func itsRootCannotGetAtTheProxy() throws {
    try withUser { portmap, probe, topology in
      let server = try serve(topology, probe)
      let pid = try #require(try portmap.map("--into", "\(server.pid)", "8080:80").first?.pid)
      let proxy = try portmap.start(["proxy", "--into", "\(server.pid)", "8081", "127.0.0.1:80"])
      #expect(proxy.line() != nil)
      for pid in [pid, proxy.pid] {
        let status = try ProcessState.status(pid)
        #expect(status["CapEff"] == ["0000000000000000"] && status["CapPrm"] == ["0000000000000000"])
        let outcome = try topology.host.exec(
          Self.user + ["nsenter", "--target", "\(server.pid)", "--user", "--net", "--preserve-credentials"]
            + ["python3", "-c", Self.pry, "\(pid)"]
        )
        let results = outcome.lines.map { $0.split(separator: " ") }
        #expect(results.count == 20, "\(outcome)")
        for result in results {
          #expect(
            [EPERM, EACCES].contains(Int32(result[1]) ?? 0),
            "\(result[0]) of process \(pid): \(outcome)"
          )
        }
      }
      // The namespace is the same, and the guest's root has power over others in it.
      let itself = try topology.host.exec(
        Self.user + ["nsenter", "--target", "\(server.pid)", "--user", "--net", "--preserve-credentials"]
          + ["python3", "-c", Self.pry, "\(server.pid)"]
      )
      #expect(itself.lines.contains("mem 0") && itself.lines.contains("getfd 0"), "\(itself)")
    }
  }

  /// Of the host it has the sockets of its ports and its control socket, and nothing else.
  @Test func noDescriptorsOfTheHosts() throws {
    try withTopology { topology in
      topology.cleanup.add { try topology.portmap("unmap", "--all", status: nil) }
      let made = try topology.portmap.map("--into", topology.web.name, "8080:80/tcp+udp")
      let pid = try #require(made.first?.pid)
      let folder = "/proc/\(pid)/fd"
      let targets = try FileManager.default.contentsOfDirectory(atPath: folder).sorted().map {
        try FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")
      }
      let others = targets.filter { $0 != "/dev/null" && !$0.hasPrefix("anon_inode:") }
      #expect(others.count == 3 && others.allSatisfy { $0.hasPrefix("socket:") }, "\(targets)")
      let status = try ProcessState.status(pid)
      #expect(status["CapEff"] == ["0000000000000000"] && status["Seccomp"] == ["2"])
      #expect(status["Uid"]?.contains("0") == false)
    }
  }
}
