import Foundation
import Testing

/// What could not be taken away stands in nobody's way, and goes when the cause is gone.
@Suite struct BrokenProgramTests {
  typealias Address = Topology.Address

  /// Adds the rules and says that it failed, once; from then on it does nothing but fail.
  private func failing(_ topology: Topology) -> String {
    """
    case "$*" in *--version*) exec "$real" "$@";; esac
    if mkdir \(topology.folder)/once-$(basename $0) 2>/dev/null; then "$real" "$@"; fi; exit 3
    """
  }

  @Test(arguments: [["iptables-restore"], ["ip6tables-restore"], ["iptables-restore", "ip6tables-restore"]])
  func aMapThatCannotBeUndone(_ programs: [String]) throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let script = failing(topology)
      let broken = try topology.portmap(with: Dictionary(uniqueKeysWithValues: programs.map { ($0, script) }))
      let outcome = try broken("map", "8080:80", "--to", Address.web, status: 1)
      #expect(outcome.stderr.contains("cannot undo everything"), "\(outcome)")
      #expect(try topology.host.snapshot() != before)
      try broken("list")
      try broken("alloc", "9000")
      try broken("map", "--proxy-only", "8081:80", "--to", Address.web)
      try broken("unmap", "9000")
      let check = try broken("check", status: 1)
      #expect(check.stdout.contains("still to be removed"), "\(check)")
      let repair = try broken("repair", status: 1)
      #expect(repair.stderr.contains(programs[0]), "\(repair)")
      // The cause is gone.
      try topology.portmap("repair")
      try topology.portmap("check")
      try topology.portmap("unmap", "8081")
      #expect(try topology.host.snapshot() == before)
    }
  }

  @Test func aMappingWhoseCommandIsGone() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let command = try topology.portmap.start(["map", "8080:80", "--to", Address.web, "--", "sleep", "60"])
      try eventually("it is not mapped") { try !topology.portmap.list().mappings.isEmpty }
      command.kill()
      try topology.host.exec(["pkill", "-KILL", "-f", "^sleep 60$"], status: nil)
      let script = "case \"$*\" in *--version*) exec \"$real\" \"$@\";; esac; exit 3"
      let broken = try topology.portmap(with: [
        "iptables-restore": script, "ip6tables-restore": script, "iptables-save": script,
        "ip6tables-save": script,
      ])
      try broken("alloc", "9000")
      try broken("list")
      try broken("map", "--proxy-only", "8081:80", "--to", Address.web)
      try broken("repair", status: 1)
      try topology.portmap("repair")
      try topology.portmap("unmap", "9000", "8081")
      #expect(try topology.host.snapshot() == before)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  /// The same with programs that work again as another variant of iptables.
  @Test func anotherVariantDoesNotStandInTheWay() throws {
    try withTopology { topology in
      let script = failing(topology)
      let broken = try topology.portmap(with: ["iptables-restore": script])
      try broken("map", "8080:80", "--to", Address.web, status: 1)
      let legacy = try topology.portmap(with: [
        "iptables-restore": "exec iptables-legacy-restore \"$@\"",
        "iptables-save": "exec iptables-legacy-save \"$@\"",
        "ip6tables-restore": "exec ip6tables-legacy-restore \"$@\"",
        "ip6tables-save": "exec ip6tables-legacy-save \"$@\"",
      ])
      try legacy("alloc", "9000")
      try legacy("repair")
      try legacy("unmap", "9000")
      try topology.portmap("check")
    }
  }

  /// What map leaves out for want of ip6tables, salvage leaves out, too.
  @Test func salvageWithoutIP6Tables() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = try topology.portmap(withOnly: ["iptables-restore", "iptables-save", "ip", "sh"])
      try portmap("map", "8080:80", "--to", Address.web)
      try Data("junk".utf8).write(to: URL(fileURLWithPath: portmap.state + "/state.json"))
      try portmap("repair")
      try portmap("check")
      try portmap("unmap", "8080")
      try portmap("unmap", "--all")
      #expect(try topology.host.snapshot() == before)
    }
  }

  @Test func aPortThatARunningCommandHas() throws {
    try withTopology { topology in
      let command = try topology.portmap.start(["alloc", "8080", "--", "sleep", "60"])
      try eventually("it is not reserved") { try !topology.portmap.list().reservations.isEmpty }
      let pid = try topology.portmap.list().reservations[0].pid
      let outcome = try topology.portmap("map", "8080:80", "--to", Address.web, status: 3)
      #expect(outcome.stderr.contains("already reserved as 8080"), "\(outcome)")
      #expect(outcome.stderr.contains("process \(pid)"), "\(outcome)")
      command.kill()
    }
  }

  /// check tells what repair mends.
  @Test func differencesThatOnlyRepairKnew() throws {
    try withTopology { topology in
      try topology.portmap("map", "8080:80", "53:53/udp", "--to", Address.web)
      try topology.host.setSysctl("net.ipv4.ip_forward=0")
      let check = try topology.portmap("check", status: 1)
      #expect(check.lines.count == 1 && check.stdout.contains("net.ipv4.ip_forward"), "\(check)")
      try topology.portmap("repair")
      let pid = try #require(try topology.host.processes().first)
      try topology.host.killProcesses()
      let dead = try topology.portmap("check", status: 1)
      #expect(dead.lines == ["8080, 53/udp: the background process \(pid) is dead"], "\(dead)")
      try topology.portmap("repair")
      try topology.portmap("check")
    }
  }

  @Test func checkOfTargets() throws {
    try withTopology { topology in
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try topology.portmap("map", "8081:80", "--to", Address.web)
      let pid = try topology.portmap.list("8081").mappings[0].pid ?? 0
      try topology.host.exec("kill", "-KILL", "\(pid)")
      try topology.portmap("check", "8080")
      let check = try topology.portmap("check", "8081", status: 1)
      #expect(check.stdout.contains("8081: the background process \(pid) is dead"), "\(check)")
      try topology.portmap("check", "8082", status: 5)
    }
  }

  /// A network that was asked for may lie within a wider route, such as a VPN's.
  @Test func aSubnetWithinARoute() throws {
    try withTopology { topology in
      try topology.host.ip("route", "add", "10.0.0.0/8", "via", "192.0.2.2")
      for taken in ["10.99.0.0/24", "10.99.0.0/16", "10.0.0.0/8"] {
        try topology.portmap("alloc", "--ip", "--subnet", taken, status: 3)
      }
      let outcome = try topology.portmap("alloc", "--ip", "--subnet", "10.5.0.0/24")
      #expect(outcome.stdout == "10.5.0.2\n" && outcome.stderr.contains("10.0.0.0/8"), "\(outcome)")
      try topology.portmap("unmap", "--all")
    }
  }
}
