import Foundation
import Testing

/// A lent port is a conflict for every other portmap of the network namespace, whoever asks.
@Suite struct LentPortTests {
  /// The program with another state folder, as root or as an ordinary user.
  private func others(_ topology: Topology) throws -> [Portmap] {
    var folder = topology.portmap
    folder.state = topology.folder + "/other"
    return [folder, try topology.ordinaryUser()]
  }

  @Test func noOtherPortmapGetsIt() throws {
    try withTopology { topology in
      let port = try topology.portmap.allocate("--lend")
      try topology.portmap("alloc", "--lend", "8080")
      for other in try others(topology) {
        for arguments in [["--lend", "8080"], ["8080"], ["127.0.0.1:8080"], ["--lend", "127.0.0.1:8080"]] {
          let outcome = try other.run(["alloc"] + arguments, status: 3)
          #expect(outcome.stderr.contains("another portmap has lent it"), "\(outcome)")
        }
        try other("map", "--proxy-only", "8080:80", "--to", "10.99.0.2", status: 3)
        #expect(try other.allocate("--lend") != port)
        #expect(try other.allocate("8080-8081") == 8081)
        try other("unmap", "--all")
      }
      // Its own server still can.
      #expect(try topology.host.bind(.tcp, "::", 8080, "--reuse") == nil)
    }
  }

  @Test func twiceInOneFolder() throws {
    try withHost { portmap, _ in
      try portmap("alloc", "--lend", "8080")
      let outcome = try portmap("alloc", "--lend", "8080", status: 3)
      #expect(outcome.stderr.contains("already reserved"), "\(outcome)")
    }
  }

  @Test func otherAddressesAreOtherPorts() throws {
    try withTopology { topology in
      try topology.portmap("alloc", "--lend", "127.0.0.1:8080")
      let other = try others(topology)[0]
      try other("alloc", "--lend", "127.0.0.2:8080")
      try other("alloc", "--lend", "127.0.0.1:8080", status: 3)
      try other("alloc", "--lend", "0.0.0.0:8080", status: 3)
      try other("alloc", "8080/udp")
    }
  }

  @Test func itIsFreeAgainWithItsRelease() throws {
    try withTopology { topology in
      let other = try others(topology)[0]
      try topology.portmap("alloc", "--lend", "8080")
      try topology.portmap("unmap", "8080")
      try other("alloc", "--lend", "8080")
      // So it is when its process dies, and repair lends it again.
      try topology.host.killProcesses()
      try topology.portmap("alloc", "--lend", "8080")
      let outcome = try other("repair", status: 1)
      #expect(outcome.stderr.contains("8080"), "\(outcome)")
      try topology.portmap("unmap", "8080")
      try other("repair")
      try topology.portmap("alloc", "--lend", "8080", status: 3)
    }
  }

  @Test func manyAtOnceFromManyFolders() throws {
    try withTopology { topology in
      let ports = try (0..<12).map { number in
        var portmap = topology.portmap
        portmap.state = topology.folder + "/state-\(number)"
        return try portmap.start(["alloc", "--lend", "-c", "3"])
      }.map { $0.wait() }
      #expect(ports.allSatisfy { $0.status == 0 || $0.status == 3 }, "\(ports)")
      let numbers = ports.flatMap(\.lines)
      #expect(numbers.count >= 3 && Set(numbers).count == numbers.count, "\(numbers)")
    }
  }
}
