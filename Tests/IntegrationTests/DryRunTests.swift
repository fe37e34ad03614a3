import Foundation
import Testing

/// `-n` shows and changes nothing; `-v` shows and does.
@Suite struct DryRunTests {
  typealias Address = Topology.Address

  @Test func mapAndAlloc() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = topology.portmap
      let map = try portmap("map", "-n", "8080:80/udp", "--to", Address.web)
      #expect(map.stdout.contains("DNAT") && map.stdout.contains("10.99.0.2") && map.stdout.contains("8080"))
      let document = try portmap("map", "-n", "--json", "8080:80/udp", "81", "--to", Address.web)
      let mappings = try JSONSerialization.jsonObject(with: Data(document.stdout.utf8)) as? [[String: Any]]
      #expect(mappings?.compactMap { $0["hostPort"] as? Int } == [8080, 0])
      try portmap("alloc", "-n", "8080")
      try portmap("alloc", "--dry-run", "--ip")
      try portmap("map", "-n", "8080:80")
      try topology.host.expectUnchanged(before)
      #expect(try topology.host.sysctl("net.ipv4.ip_forward") == "0")
      #expect(try portmap.list().isEmpty)
      #expect(!FileManager.default.fileExists(atPath: portmap.state + "/state.json"))
    }
  }

  @Test func unmap() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", Address.web)
      let before = try topology.host.snapshot()
      let list = try portmap.list()
      #expect(try portmap("unmap", "-n", "8080").stdout.isEmpty == false)
      try portmap("unmap", "--dry-run", "--all")
      try portmap("unmap", "-n", "8081", status: 5)
      #expect(try topology.host.snapshot() == before)
      #expect(try portmap.list() == list)
    }
  }

  @Test func verboseEchoesCommands() throws {
    try withTopology { topology in
      let outcome = try topology.portmap("map", "-v", "8080:80", "--to", Address.web)
      #expect(outcome.stderr.contains("[#] iptables-restore"), "\(outcome)")
      #expect(outcome.stdout == "8080->10.99.0.2:80\n")
      let unmapping = try topology.portmap("unmap", "--verbose", "8080")
      #expect(unmapping.stderr.contains("[#] iptables-restore"), "\(unmapping)")
    }
  }
}
