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

  /// What a dry run shows can be pasted: it does what the command does, as far as a shell can.
  @Test func whatIsShownCanBePasted() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let guest = try Namespace("p", topology.cleanup)
      let before = try topology.host.snapshot()
      func paste(_ script: Outcome) throws { try topology.host.exec("sh", "-e", "-c", script.stdout) }
      func shape() throws -> Snapshot { try topology.host.snapshot().withoutIDs }

      try paste(try portmap("map", "-n", "8000-8010:80-90/tcp+udp", "[::]:81:80", "--to", Address.web6))
      #expect(try topology.host.sysctl("net.ipv6.conf.all.forwarding") == "1")
      let pasted = try shape()
      try topology.host.exec("sh", "-c", Self.flush)
      try portmap("map", "8000-8010:80-90/tcp+udp", "[::]:81:80", "--to", Address.web6)
      #expect(try shape() == pasted)
      try portmap("unmap", "--all")

      try portmap("alloc", "--netns", guest.name)
      try portmap("map", "8080:80", "--to", guest.name)
      let made = try shape()
      try paste(try portmap("unmap", "-n", "--all"))
      #expect(try topology.host.snapshot() == before)
      try portmap("unmap", "--all")
      try paste(try portmap("alloc", "-n", "--netns", guest.name))
      #expect(try guest.ip("route").stdout.hasPrefix("default via 172.16.42.1"))
      #expect(try shape().links == made.links)
    }
  }

  private static let flush = """
    for program in iptables ip6tables; do
      for table in nat filter raw; do $program -t $table -F; $program -t $table -X; done
    done
    """

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

extension Snapshot {
  /// The same with every id alike.
  fileprivate var withoutIDs: Snapshot {
    func plain(_ lines: [String]) -> [String] {
      lines.map { $0.replacing(#/([:-])[a-f][0-9a-f]{7}\b/#) { "\($0.1)ID" } }
    }
    return Snapshot(rules: plain(rules), rules6: plain(rules6), links: plain(links))
  }
}
