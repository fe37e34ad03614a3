import Foundation
import Testing

/// What an ordinary user can do, and what the others are told.
@Suite struct UnprivilegedTests {
  typealias Address = Topology.Address

  /// The program as an ordinary user runs it, with a runtime folder of the user's own.
  private func withUser(_ body: (Portmap, Topology) throws -> Void) throws {
    try withTopology { try body($0.ordinaryUser(), $0) }
  }

  @Test func portsAreReservedAndReleased() throws {
    try withUser { portmap, topology in
      let port = try portmap.allocate()
      #expect(try topology.host.bind(.tcp, "::", port)?.contains("EADDRINUSE") == true)
      #expect(try portmap.list().reservations.map(\.port) == [port])
      let pid = try portmap.list().reservations[0].pid
      let owner = try FileManager.default.attributesOfItem(atPath: "/proc/\(pid)")[.ownerAccountID] as? Int
      #expect(owner == 65000)
      try portmap("unmap", "\(port)")
      #expect(try topology.host.processes().isEmpty)
      // The state of the administrator is another one.
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  @Test func mappingsByTheProxyAlone() throws {
    try withUser { portmap, topology in
      try topology.web.serveBoth(Address.web, "80", name: "web")
      try portmap("alloc", "8080")
      let inodes = try topology.host.sockets(.tcp, 8080)
      #expect(
        try portmap("map", "--proxy-only", "8080:80", "8081:80/udp", "--to", Address.web).stdout
          == "8080->10.99.0.2:80\n8081->10.99.0.2:80/udp\n"
      )
      #expect(try topology.host.sockets(.tcp, 8080) == inodes)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.bridge)
      #expect(try topology.outside.ask(.udp, Address.host, 8081).peer == Address.bridge)
      try portmap("unmap", "--all")
      #expect(try portmap.list().isEmpty)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).verdict == .refused)
    }
  }

  @Test(arguments: Transport.allCases)
  func aReservedPortIsHeldForReal(_ transport: Transport) throws {
    try withUser { portmap, topology in
      let port = try portmap.allocate("0\(transport.suffix)")
      for address in ["0.0.0.0", "127.0.0.1", "::", "::1"] {
        for options in [[], ["--reuse"]] {
          let outcome = try topology.host.exec(
            [Tools.probe, "bind", transport.rawValue, address, "\(port)"] + options,
            status: nil
          )
          #expect(outcome.stderr.contains("EADDRINUSE"), "\(outcome)")
        }
      }
      for address in [Address.host, Address.host6] {
        let answer = try topology.outside.ask(transport, address, port, timeout: 0.3)
        #expect(answer.isUnanswered, "\(answer)")
      }
      let conflict = try topology.portmap("alloc", "\(port)\(transport.suffix)", status: 3)
      #expect(conflict.stderr.contains("address already in use"), "\(conflict)")
    }
  }

  @Test func lowPortsThatTheHostOpensToAll() throws {
    try withUser { portmap, topology in
      try topology.host.setSysctl("net.ipv4.ip_unprivileged_port_start=80")
      #expect(try portmap("alloc", "80").stdout == "80\n")
      try portmap("alloc", "79", status: 4)
    }
  }

  @Test func aLimitOfOpenFilesThatIsTooLow() throws {
    try withUser { portmap, topology in
      var limited = portmap
      limited.prefix = ["prlimit", "--nofile=256:256"] + portmap.prefix
      let outcome = try limited("map", "8000-8999:8000-8999", "--proxy-only", "--to", Address.web, status: 1)
      #expect(outcome.stderr.contains("NOFILE") || outcome.stderr.contains("ulimit"), "\(outcome)")
      #expect(try limited.list().isEmpty)
      #expect(try topology.host.processes().isEmpty)
    }
  }

  @Test func loopbackIsProxyOnlyWithoutSayingSo() throws {
    try withUser { portmap, topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let outcome = try portmap("map", "127.0.0.1:8082:80", "--to", Address.web)
      #expect(outcome.stdout == "127.0.0.1:8082->10.99.0.2:80\n")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8082).name == "web")
    }
  }

  @Test(arguments: [
    ["map", "8080:80", "--to", "10.99.0.2"], ["map", "8080:80", "--to", "10.99.0.2", "--no-proxy"],
    ["alloc", "--ip"],
    ["alloc", "--netns", "web"], ["map", "8080:80"], ["map", "80:80", "--proxy-only", "--to", "10.99.0.2"],
    ["alloc", "80"], ["proxy", "80", "10.99.0.2:80"],
  ])
  func whatNeedsMore(_ arguments: [String]) throws {
    try withUser { portmap, topology in
      let before = try topology.host.snapshot()
      let outcome = try portmap.run(arguments, status: 4)
      let needs = ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "root", "ip_unprivileged_port_start"]
      #expect(needs.contains { outcome.stderr.contains($0) }, "\(outcome)")
      #expect(outcome.stdout.isEmpty)
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func aFolderOfTheUsersOwnInTmp() throws {
    try withUser { portmap, topology in
      let uid = 65000 - Int.random(in: 1...3000)
      var user = portmap
      user.environment = ["XDG_RUNTIME_DIR": ""]
      user.prefix = ["setpriv", "--reuid", "\(uid)", "--regid", "\(uid)", "--clear-groups"]
      let folder = "/tmp/portmap-\(uid)"
      topology.cleanup.add { try? FileManager.default.removeItem(atPath: folder) }
      let port = try user.allocate()
      let attributes = try FileManager.default.attributesOfItem(atPath: folder)
      #expect(attributes[.posixPermissions] as? Int == 0o700)
      #expect(attributes[.ownerAccountID] as? Int == uid)
      #expect(try user.list().reservations.map(\.port) == [port])
      try user("unmap", "--all")
      // Somebody else's folder of that name is refused.
      try FileManager.default.removeItem(atPath: folder)
      try FileManager.default.createDirectory(
        atPath: folder,
        withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o755]
      )
      let outcome = try user("alloc", status: nil)
      #expect(outcome.status != 0 && outcome.stderr.contains(folder), "\(outcome)")
    }
  }

  @Test func whatIsTheirsIsCheckedAndRepaired() throws {
    try withUser { portmap, topology in
      // Root's folder is there, too.
      try topology.portmap("map", "8081:80", "--to", Address.web)
      #expect(try portmap("repair").stdout.isEmpty)
      try portmap("map", "8080:80", "--proxy-only", "--to", Address.web)
      #expect(try portmap("check").stdout.isEmpty)
      let pid = try #require(try portmap.list().mappings.first?.pid)
      kill(pid, SIGKILL)
      try eventually("\(pid) does not die") { try !topology.host.processes().contains(pid) }
      #expect(try portmap("check", status: 1).stdout.contains("dead"))
      #expect(try portmap("repair", "-n").stdout.contains("dead"))
      #expect(try portmap("repair").stdout == "held 8080 again\n")
      #expect(try topology.host.sockets(.tcp, 8080).count == 1)
      try portmap("unmap", "--all")
    }
  }

  @Test func aDryRunNeedsNoRoot() throws {
    try withUser { portmap, topology in
      let before = try topology.host.snapshot()
      let outcome = try portmap("map", "-n", "8080:80", "--to", Address.web)
      #expect(outcome.stdout.contains("DNAT") && outcome.stdout.contains("10.99.0.2"), "\(outcome)")
      try topology.host.expectUnchanged(before)
    }
  }
}
