import Foundation
import Testing

/// One network namespace with two /run in it, as the host and a container on its network have them.
@Suite struct SidesTests {
  typealias Address = Topology.Address

  /// Two programs in the topology's host, each with a /run of its own: a file system each, or two folders of one.
  private func sides(_ topology: Topology, onFileSystems: Bool) throws -> [Portmap] {
    try ["a", "b"].map { name in
      let run = topology.folder + "/run-" + name
      try FileManager.default.createDirectory(atPath: run, withIntermediateDirectories: false)
      if onFileSystems {
        try IntegrationTests.run(["mount", "-t", "tmpfs", "none", run])
        topology.cleanup.add { try IntegrationTests.run(["umount", run]) }
      }
      return Portmap(topology.host, run: run, topology.cleanup)
    }
  }

  private func expectQuiet(_ sides: [Portmap]) throws {
    for side in sides {
      #expect(try side("check").stdout.isEmpty)
      #expect(try side("repair").stdout.isEmpty)
    }
  }

  @Test(arguments: [true, false])
  func eachLeavesTheOtherAlone(onFileSystems: Bool) throws {
    try withServers { topology in
      let before = try topology.host.snapshot()
      let sides = try sides(topology, onFileSystems: onFileSystems)
      func expectMapped(_ port: Int) throws {
        let answer = try topology.outside.ask(.tcp, Address.host, port)
        #expect(answer.peer == Address.outside, "\(port): \(answer)")
      }
      try sides[0]("map", "8080:80", "--to", Address.web)
      try sides[1]("map", "8081:80", "--to", Address.other)
      #expect(try sides[0]("alloc", "--ip").stdout == "172.16.42.2\n")
      #expect(try sides[1]("alloc", "--ip").stdout == "10.0.42.2\n")
      try sides[1]("map", "8080:80", "--to", Address.other, status: 3)
      #expect(Set(try topology.host.tags()).count == 2)
      #expect(try topology.host.links().filter { $0.hasPrefix("portmap") } == ["portmap0", "portmap1"])
      try expectMapped(8080)
      try expectMapped(8081)
      try expectQuiet(sides)
      try sides[1]("unmap", "--all")
      try expectMapped(8080)
      try expectQuiet(sides)
      try sides[1]("map", "8081:80", "--to", Address.other)
      try sides[0]("unmap", "--all")
      try expectMapped(8081)
      try expectQuiet(sides)
      try sides[1]("unmap", "--all")
      #expect(try topology.host.snapshot() == before)
    }
  }

  /// A state that is lost is rebuilt around the rules that are there.
  @Test func aRebuiltStateHasTheSameRules() throws {
    try withServers { topology in
      let sides = try sides(topology, onFileSystems: true)
      try sides[0]("map", "8080:80", "--to", Address.web)
      try sides[1]("map", "8081:80", "--to", Address.other)
      let rules = Set(try topology.host.rules())
      let shelf = topology.folder + "/run-a/portmap"
      let folder = try #require(try FileManager.default.contentsOfDirectory(atPath: shelf).first)
      try Data("junk".utf8).write(to: URL(fileURLWithPath: "\(shelf)/\(folder)/state.json"))
      try sides[0]("repair")
      #expect(Set(try topology.host.rules()) == rules)
      try expectQuiet(sides)
      #expect(try sides[0].list().mappings.map(\.hostPort) == [8080])
    }
  }
}
