import Foundation
import Testing

/// The host is left as it was found.
@Suite struct RestoreTests {
  typealias Address = Topology.Address

  @Test func theLastUnmapLeavesTheRulesAsBefore() throws {
    try withTopology { topology in
      // Somebody else's rules, which stay where they are.
      let host = topology.host
      try host.exec("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "1", "-j", "ACCEPT")
      try host.exec("iptables", "-N", "MINE")
      try host.exec("iptables", "-A", "FORWARD", "-j", "MINE")
      try host.exec("ip6tables", "-A", "INPUT", "-p", "udp", "--dport", "1", "-j", "DROP")
      let before = try host.snapshot()
      try topology.portmap("map", "8080:80/tcp+udp", "9000-9999:9000-9999", "--to", Address.web)
      try topology.portmap(
        "map",
        "192.0.2.1:8081:80",
        "127.0.0.1:8082:80",
        "--masquerade",
        "--to",
        Address.other
      )
      try topology.portmap("map", "8083:80/tcp+udp", "--to", Address.web6)
      let during = try host.snapshot()
      #expect(during != before && Set(during.rules).isSuperset(of: before.rules))
      try topology.portmap("unmap", "8080", "8080/udp", "9000-9999")
      try topology.portmap("unmap", "8081", "8082")
      try topology.portmap("unmap", "8083", "8083/udp")
      try host.expectUnchanged(before)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  @Test func allOfItAtOnce() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = topology.portmap
      let guest = try Namespace("p", topology.cleanup)
      try portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try portmap("map", "8081:80")
      try portmap("alloc", "-c", "3")
      try portmap("alloc", "--ip", "--name", "db")
      try portmap("alloc", "--netns", guest.name)
      try portmap("map", "8082:80", "--to", guest.name)
      #expect(try controlSockets(portmap).count == topology.host.processes().count)
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
      #expect(try guest.links() == ["lo"])
      #expect(try portmap.list().isEmpty)
      #expect(try controlSockets(portmap).isEmpty)
      // And again: nothing there is no mistake.
      try portmap("unmap", "--all")
    }
  }

  /// The control sockets of background processes, of whatever name: what is a socket in the state folder.
  private func controlSockets(_ portmap: Portmap) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: portmap.state).filter { name in
      try FileManager.default.attributesOfItem(atPath: portmap.state + "/" + name)[.type]
        as? FileAttributeType
        == .typeSocket
    }
  }

  @Test func theBridgeStaysUntilAllIsReleased() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = topology.portmap
      let ip = try portmap("alloc", "--ip").lines[0]
      let withBridge = try topology.host.snapshot()
      #expect(Set(withBridge.links) == Set(before.links + ["portmap0"]))
      try portmap("map", "8080:80", "--to", ip)
      try portmap("unmap", "8080")
      try topology.host.expectUnchanged(withBridge)
      try portmap("unmap", ip)
      try topology.host.expectUnchanged(withBridge)
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func aFailedMapLeavesNothing() throws {
    try withTopology { topology in
      try topology.host.serve(.udp, "0.0.0.0", "8081", name: "stranger")
      let processes = try topology.host.processes()
      let before = try topology.host.snapshot()
      try topology.portmap("map", "8080:80", "8081:80/udp", status: 3)
      try topology.host.expectUnchanged(before, processes: processes)
      try topology.portmap("map", "8080:80", "8081:80/udp", "--to", Address.web, status: 3)
      try topology.host.expectUnchanged(before, processes: processes)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  @Test func aFailedRestoreIsQuotedAndUndone() throws {
    try withTopology { topology in
      let shim = "echo 'the sky is falling' >&2; exit 2"
      let portmap = try topology.portmap(with: ["iptables-restore": shim, "ip6tables-restore": shim])
      let before = try topology.host.snapshot()
      let outcome = try portmap("map", "8080:80/tcp+udp", "--to", Address.web, status: 1)
      #expect(outcome.stdout.isEmpty && outcome.stderr.contains("the sky is falling"), "\(outcome)")
      try topology.host.expectUnchanged(before)
      #expect(try topology.portmap.list().isEmpty)
      #expect(try topology.portmap("map", "8080:80/tcp+udp", "--to", Address.web).lines.count == 2)
    }
  }
}
