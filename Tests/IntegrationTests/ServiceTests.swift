import Foundation
import Testing

/// portmap.service, as far as it can be seen without systemd: what its sandbox leaves is enough.
@Suite struct ServiceTests {
  typealias Address = Topology.Address

  /// The values of a setting, from all its lines.
  private func values(_ name: String) throws -> [String] {
    let path = Tools.repository.appendingPathComponent("packaging/portmap.service").path
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    return lines.filter { $0.hasPrefix(name + "=") }
      .flatMap { $0.dropFirst(name.count + 1).split(separator: " ").map(String.init) }
  }

  /// Makes something of every kind, has it put back, and takes it away.
  private func useEverything(_ portmap: Portmap, _ topology: Topology) throws {
    let guest = try Namespace("n", topology.cleanup)
    try topology.web.serve(.tcp, Address.web, "80", name: "web")
    let watch = try topology.watch(
      """
      alloc --netns \(guest.name)
      map 80:80 --to \(Address.web)
      map 8081:80/tcp+udp --to \(guest.name)
      map 8082:80 --to \(Address.web6) --masquerade
      map 127.0.0.1:8083:80 --to \(Address.web)
      alloc 9000/udp
      """,
      portmap: portmap
    )
    #expect(try topology.portmap.list().mappings.count == 5)
    try topology.host.exec("nft", "flush", "ruleset")
    try topology.host.ip("link", "set", "portmap0", "down")
    let pid = try #require(try topology.portmap.list().mappings.first?.pid)
    kill(pid, SIGKILL)
    try eventually("it is not as it was", within: 20) {
      try topology.outside.ask(.tcp, Address.host, 80, timeout: 0.3).peer == Address.outside
        && topology.host.ask(.tcp, "127.0.0.1", 8083, timeout: 0.3).name == "web"
        && topology.portmap("check", status: nil).status == 0
    }
    try topology.declare("")
    try watch.reload()
    #expect(try topology.portmap.list().isEmpty)
    try watch.end()
  }

  @Test func itsCapabilitiesAreEnough() throws {
    try withTopology { topology in
      let names = try values("CapabilityBoundingSet").map { $0.dropFirst("CAP_".count).lowercased() }
      #expect(names.count > 5)
      var portmap = topology.portmap
      let set = (["-all"] + names.map { "+" + $0 }).joined(separator: ",")
      portmap.prefix = ["setpriv", "--no-new-privs", "--bounding-set", set]
      try useEverything(portmap, topology)
    }
  }

  @Test func itsSystemCallsAreAllowed() throws {
    try withTopology { topology in
      let trace = topology.folder + "/trace"
      var portmap = topology.portmap
      portmap.prefix = ["strace", "-D", "-f", "-qq", "--signal=none", "-o", trace]
      try useEverything(portmap, topology)
      let lines = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
      let used = Set(lines.compactMap { $0.firstMatch(of: /^\d+ +([a-z0-9_]+)\(/).map { String($0.1) } })
      #expect(used.count > 50)
      let allowed = try values("SystemCallFilter").reduce(into: Set<String>()) { try $0.formUnion(calls($1)) }
      #expect(used.subtracting(allowed) == [])
    }
  }

  /// The system calls of a set that begins with `@`, those of the sets in it too.
  private func calls(_ name: String) throws -> Set<String> {
    guard name.hasPrefix("@") else { return [name] }
    let lines = try run(["systemd-analyze", "syscall-filter", name]).lines.dropFirst()
    let names = lines.map { $0.trimmingCharacters(in: .whitespaces) }.filter {
      !$0.isEmpty && !$0.hasPrefix("#")
    }
    return try names.reduce(into: []) { try $0.formUnion(calls($1)) }
  }
}
