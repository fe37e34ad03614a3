import Foundation
import Testing

/// Twenty at once: each succeeds, nothing is given twice.
@Suite(.serialized) struct ConcurrencyTests {
  typealias Address = Topology.Address

  private func all(_ portmap: Portmap, _ commands: [[String]]) throws -> [Outcome] {
    let children = try commands.map { try portmap.start($0) }
    return try children.map { try $0.wait(timeout: 60).expecting(0) }
  }

  @Test func everyPortIsGivenOnce() throws {
    try withHost { portmap, host in
      let outcomes = try all(portmap, Array(repeating: ["alloc", "-c", "2"], count: 20))
      let ports = outcomes.flatMap(\.lines)
      #expect(ports.count == 40 && Set(ports).count == 40)
      #expect(try portmap.list().reservations.count == 40)
      #expect(try host.processes().count == 20)
      _ = try all(portmap, ports.map { ["unmap", $0] })
      #expect(try portmap.list().isEmpty)
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func everyMappingHasOneRule() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      let portmap = topology.portmap
      let outcomes = try all(
        portmap,
        (0..<20).map { ["map", "-q", "--to", Address.web, "\($0 % 2 == 0 ? "0" : "\(8000 + $0)"):80"] }
      )
      let ports = outcomes.flatMap(\.lines)
      #expect(Set(ports).count == 20)
      let rules = try topology.host.translations()
      #expect(rules.count == 20)
      for port in ports {
        #expect(rules.filter { $0.contains("--dport \(port) ") }.count == 1, "\(port) in \(rules)")
      }
      _ = try all(portmap, ports.map { ["unmap", $0] })
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func everyAddressIsGivenOnce() throws {
    try withHost { portmap, _ in
      let outcomes = try all(portmap, Array(repeating: ["alloc", "--ip"], count: 10))
      #expect(Set(outcomes.flatMap(\.lines)).count == 10)
      #expect(try portmap.list().addresses.count == 10)
      try portmap("unmap", "--all")
    }
  }

  @Test func whoWaitsSaysForWhom() throws {
    try withTopology { topology in
      let (called, go) = (topology.folder + "/called", topology.folder + "/go")
      let slow = try topology.portmap(with: [
        "iptables-restore": "> \(called); until [ -e \(go) ]; do sleep 0.05; done; exec \"$real\" \"$@\""
      ])
      let first = try slow.start(["map", "8080:80", "--to", Address.web])
      try eventually("no rules are made") { FileManager.default.fileExists(atPath: called) }
      let second = try topology.portmap.start(["alloc", "8081"])
      // Which process that is, is said by its number.
      #expect(second.complains(of: "\(first.pid)"))
      try run(["touch", go])
      #expect(second.wait().stdout == "8081\n")
      #expect(first.wait().status == 0)
    }
  }

  @Test func twoStateFoldersAtOnce() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      var second = topology.portmap
      second.state += "-2"
      let children = try (0..<16).map { number in
        let portmap = number % 2 == 0 ? topology.portmap : second
        return try portmap.start([
          "map", "\(8000 + number):80", "--to", number % 4 < 2 ? Address.web : Address.other,
        ])
      }
      for child in children { try child.wait(timeout: 60).expecting(0) }
      #expect(try topology.host.translations().count == 16)
      #expect(try topology.portmap.list().mappings.count == 8)
      let removals = try [topology.portmap, second].map { try $0.start(["unmap", "--all"]) }
      for removal in removals { try removal.wait(timeout: 60).expecting(0) }
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func theSamePortForOneOnly() throws {
    try withTopology { topology in
      let children = try (0..<10).map { _ in
        try topology.portmap.start(["map", "8080:80", "--to", Address.web])
      }
      let statuses = children.map { $0.wait(timeout: 60).status }.sorted()
      #expect(statuses == [0] + Array(repeating: 3, count: 9))
      #expect(try topology.host.translations().count == 1)
      #expect(try topology.host.processes().count == 1)
    }
  }
}
