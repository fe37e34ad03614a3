import Foundation
import Testing

/// User and process namespaces of all kinds, and a root without capabilities: ports are reserved and released, and the
/// background process is left without any power.
@Suite struct UserNamespaceTests {
  private static let user = Tools.ordinaryUser

  /// Reserves, looks at the processes, releases.
  private static let script = """
    export PORTMAP_STATE_DIR=$(mktemp -d "$1/state.XXXXXX")/state
    "$0" alloc 0 8080/udp && "$0" list -q | wc -l && "$0" unmap --all
    """

  @Test(arguments: [
    ["unshare", "-Ur"], ["unshare", "-Urn"], ["unshare", "-U"], user + ["unshare", "-Ur"],
    user + ["unshare", "-Urn"], user + ["unshare", "-U"], user + ["unshare", "-Ucn"],
    user + ["unshare", "-Ur", "unshare", "-Ur"], user + ["unshare", "-Ur", "unshare", "-U"],
    ["setpriv", "--bounding-set=-setuid,-setgid"], ["setpriv", "--bounding-set=-all"], ["unshare", "-pf"],
    ["unshare", "-pf", "--mount-proc"],
  ])
  func portsAreReservedAndReleased(_ prefix: [String]) throws {
    try withTopology { topology in
      let folder = topology.folder + "/folder"
      try run(["install", "-d", "-m", "0777", folder])
      let binary = try topology.readableBinary()
      let outcome = try topology.host.exec(prefix + ["sh", "-c", Self.script, binary, folder])
      #expect(outcome.lines == ["49153", "8080", "2"], "\(outcome)")
      #expect(try topology.host.processes().isEmpty)
    }
  }

  /// The user of the namespace that cannot be changed keeps nothing of what it had.
  @Test func noPowerIsLeft() throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.prefix = ["unshare", "-Ur"]
      try portmap("alloc", "8080")
      let pid = try #require(try topology.host.processes().first)
      let status = try ProcessState.status(pid)
      for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        #expect(status[name] == ["0000000000000000"], "\(name)")
      }
      #expect(status["Seccomp"] == ["2"] && status["NoNewPrivs"] == ["1"])
      try portmap("unmap", "8080")
    }
  }

  /// A process namespace that still has the /proc of another one: numbers in there are others than the kernel's, and the
  /// state has the one by which /proc tells whether the process is alive.
  @Test func numbersOfAnotherNamespace() throws {
    try withTopology { topology in
      let script = """
        "$0" alloc 8080 && "$0" list --json | sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' >"$1" &&
        tr '\\0' ' ' </proc/$(cat "$1")/cmdline && "$0" check && "$0" unmap 8080
        """
      let outcome = try topology.host.exec(
        ["unshare", "-pf", "sh", "-c", script, Tools.portmap, topology.folder + "/pid"],
        environment: ["PORTMAP_STATE_DIR": topology.portmap.state]
      )
      #expect(outcome.lines.last?.hasPrefix("portmap hold ") == true, "\(outcome)")
      #expect(try topology.host.processes().isEmpty)
    }
  }
}
