import Foundation
import Testing

extension Namespace {
  /// The ports of the entries that the program on connect(2) has for this network namespace.
  func connectPorts() throws -> [String] { try exec(Tools.probe, "entries").lines }
}

/// Loopback connections that a program on connect(2) leads to the backend.
@Suite struct ConnectTests {
  typealias Address = Topology.Address

  /// Where a client of the host's ends up, as the client sees it, and what the backend's answer is.
  private func ask(_ topology: Topology, _ address: String, _ port: Int, _ options: String...) throws -> (
    peer: String, answer: String
  ) {
    let words = [Tools.probe, "ask", "tcp", address, "\(port)", "--peer"] + options
    let lines = try topology.host.exec(words).lines
    return (lines.first ?? "", lines.last ?? "")
  }

  private func serve(_ topology: Topology) throws {
    for address in [Address.web, Address.web6] { try topology.web.serveBoth(address, "80", name: "web") }
  }

  @Test func loopbackIsLedToTheBackend() throws {
    try withTopology { topology in
      try serve(topology)
      let before = try topology.host.snapshot()
      let v4 = try topology.portmap.map("8080:80/tcp+udp", "--to", Address.web)
      let v6 = try topology.portmap.map("8086:80", "--to", Address.web6)
      #expect(v4.map(\.connect) == [true, false] && v6.map(\.connect) == [true])
      for address in ["127.0.0.1", "127.255.255.254", "::ffff:127.0.0.1"] {
        let (peer, answer) = try ask(topology, address, 8080)
        #expect(peer == "\(Address.web) 80", "\(address)")
        #expect(answer.hasPrefix("web \(Address.bridge) "), "\(answer)")
      }
      #expect(try ask(topology, "::1", 8086).peer == "\(Address.web6) 80")
      // The other family, other addresses, and UDP go where they went.
      #expect(try ask(topology, "::1", 8080).peer == "::1 8080")
      #expect(try ask(topology, "127.0.0.1", 8086).peer == "127.0.0.1 8086")
      #expect(try ask(topology, Address.host, 8080).peer == "\(Address.host) 8080")
      #expect(try topology.host.ask(.udp, "127.0.0.1", 8080, "--peer").text == "127.0.0.1 8080")
      #expect(try topology.portmap("list").stdout.contains("nat, connect, proxy"))
      #expect(try topology.portmap.list().mappings.map(\.connect) == [true, false, true])
      try topology.portmap("check")
      #expect(try topology.portmap("list", "--stats", "--json", "8080/tcp").stdout.contains("\"connect\":3,"))
      #expect(try topology.host.connectPorts() == ["8080", "8086"])
      try topology.portmap("unmap", "8080", "8080/udp", "8086")
      #expect(try topology.host.connectPorts().isEmpty)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).verdict == .refused)
      try topology.host.expectUnchanged(before)
    }
  }

  /// A socket that is bound to loopback could not reach the bridge.
  @Test func whatIsBoundIsLeftToTheProxy() throws {
    try withTopology { topology in
      try serve(topology)
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try topology.portmap("map", "8086:80", "--to", Address.web6)
      for (address, port, options) in [
        ("127.0.0.1", 8080, ["--bind", "127.0.0.1"]), ("127.0.0.1", 8080, ["--bind", "127.3.2.1"]),
        ("127.0.0.1", 8080, ["--device", "lo"]), ("::1", 8086, ["--bind", "::1"]),
        ("::1", 8086, ["--device", "lo"]), ("::ffff:127.0.0.1", 8080, ["--bind", "::ffff:127.0.0.1"]),
        ("::ffff:127.0.0.1", 8080, ["--device", "lo"]),
      ] {
        let words = [Tools.probe, "ask", "tcp", address, "\(port)", "--peer"] + options
        let lines = try topology.host.exec(words).lines
        #expect(lines.first?.hasSuffix(" \(port)") == true, "\(address) \(options): \(lines)")
        #expect(lines.last?.hasPrefix("web ") == true, "\(address) \(options): \(lines)")
      }
      #expect(try ask(topology, "127.0.0.1", 8080, "--bind", Address.bridge).peer == "\(Address.web) 80")
      #expect(try ask(topology, "::1", 8086, "--bind", Address.bridge6).peer == "\(Address.web6) 80")
    }
  }

  @Test func whatHasNoEntry() throws {
    try withTopology { topology in
      try serve(topology)
      let portmap = topology.portmap
      for arguments in [
        ["8080:80", "--proxy-only"], ["8081:80", "--no-proxy"], ["127.0.0.2:8082:80"], ["192.0.2.1:8083:80"],
        ["8084:80/udp"], ["[::]:8085:80"],
      ] {
        let mappings: [MappingRecord] = try portmap.run(["map", "--json", "--to", Address.web] + arguments)
          .json()
        #expect(mappings.map(\.connect) == [false], "\(arguments)")
      }
      let local = try portmap.map("8087:80", "--to", "127.0.0.1")
      #expect(local.map(\.connect) == [false])
      let without = try portmap.withoutConnecting("map", "-v", "8088:80", "--to", Address.web)
      #expect(
        without.stderr.contains("portmap: the proxy serves loopback: PORTMAP_CONNECT is 0\n"),
        "\(without)"
      )
      #expect(try topology.host.connectPorts().isEmpty)
      #expect(try ask(topology, "127.0.0.1", 8088).peer == "127.0.0.1 8088")
      // Ports that a mapping of one address has are not free for one of every address, nor the other way round.
      try portmap("map", "8082:80", "--to", Address.web, status: 3)
      try portmap("map", "127.0.0.2:8088:80", "--to", Address.web, status: 3)
      #expect(try ask(topology, "127.0.0.2", 8082).peer == "127.0.0.2 8082")
      try portmap("check")
    }
  }

  /// Nothing is shown that would not be, and nothing is done.
  @Test func dryRun() throws {
    try withTopology { topology in
      let map = ["map", "-n", "8080-8081:80-81", "--to", Address.web]
      let line = "# lead connections to 127.0.0.0/8 port 8080-8081 to 10.99.0.2:80-81 as they connect"
      #expect(try topology.portmap.run(map).lines.contains(line))
      #expect(try topology.portmap.withoutConnecting.run(map).stdout.contains("as they connect") == false)
      let document: [MappingRecord] = try topology.portmap.run(map + ["--json"]).json()
      #expect(document.map(\.connect) == [true])
      #expect(try topology.host.connectPorts().isEmpty)
      try topology.portmap("map", "8080-8081:80-81", "--to", Address.web)
      let unmap = try topology.portmap("unmap", "-n", "8080-8081").lines
      #expect(unmap.contains("# lead connections to 127.0.0.0/8 port 8080-8081 no more"))
      #expect(try topology.host.connectPorts() == ["8080", "8081"])
      try topology.portmap("unmap", "8080-8081")
    }
  }

  @Test func aRangeIsPairwise() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "9099", name: "last")
      try topology.portmap("map", "8000-8099:9000-9099", "--to", Address.web)
      #expect(try topology.host.connectPorts().count == 100)
      #expect(try ask(topology, "127.0.0.1", 8099).peer == "\(Address.web) 9099")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8098).verdict == .refused, "as the backend does")
      try topology.portmap("unmap", "8000-8099")
      #expect(try topology.host.connectPorts().isEmpty)
    }
  }

  /// A dead background process is in nobody's way, and a guest that is gone is told as by itself.
  @Test func withoutProxyAndGuest() throws {
    try withTopology { topology in
      let servers = try topology.web.serveBoth(Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try topology.host.killProcesses()
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      for server in servers { server.kill() }
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).verdict == .refused)
      try topology.web.ip("link", "set", "eth0", "down")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080, timeout: 0.5).verdict == .silent)
    }
  }

  /// Led connections end with what led them, as the proxy's do; others to the backend go on.
  @Test func connectionsEnd() throws {
    try withTopology { topology in
      for address in [Address.web, Address.web6] {
        try topology.web.serve(.tcp, address, "80", name: "web", mode: "mute")
      }
      try topology.portmap("map", "8080:80", "8081:80", "--to", Address.web)
      try topology.portmap("map", "8086:80", "--to", Address.web6)
      func ask(_ address: String, _ port: Int) throws -> ChildProcess {
        try topology.host.startAsking(.tcp, address, port, timeout: 20)
      }
      let led = [
        try ask("127.0.0.1", 8080), try ask("::ffff:127.0.0.1", 8080), try ask("127.1.2.3", 8080),
      ]
      let led6 = try ask("::1", 8086)
      let others = [try ask(Address.web, 80), try ask("127.0.0.1", 8081), try ask(Address.web6, 80)]
      try eventually("no connections") { try topology.host.connections(to: 80) == 7 }
      try topology.portmap("unmap", "8080")
      for client in led { #expect(client.wait(timeout: 5).status != -1, "\(client.command)") }
      try topology.portmap("unmap", "8086")
      #expect(led6.wait(timeout: 5).status != -1)
      #expect(try topology.host.connections(to: 80) == 3)
      for client in others { client.kill() }
    }
  }

  @Test func checkFindsAndRepairMends() throws {
    try withTopology { topology in
      try serve(topology)
      let portmap = topology.portmap
      try portmap("map", "8080:80", "8081:80", "--to", Address.web)
      try topology.host.exec(Tools.probe, "entry", "8080")
      #expect(
        try portmap("check", status: 1).lines == [
          "8080: connections to loopback are not led to its backend as they connect"
        ]
      )
      #expect(try portmap("check", "8081").lines.isEmpty)
      #expect(try ask(topology, "127.0.0.1", 8080).peer == "127.0.0.1 8080")
      #expect(try portmap("repair").stdout.contains("mended 8080: connections to loopback"))
      #expect(try ask(topology, "127.0.0.1", 8080).peer == "\(Address.web) 80")
      // One of the folder's own that no mapping has, and one of somebody else's.
      let tag = try #require(try topology.host.tags().first)
      try topology.host.exec(Tools.probe, "entry", "9000", "--owner", tag)
      try topology.host.exec(Tools.probe, "entry", "9001", "--owner", "ffffff")
      #expect(
        try portmap("check", status: 1).lines == [
          "127.0.0.0/8 port 9000: connections are led away as they connect, though nothing is mapped there"
        ]
      )
      try portmap("repair")
      try portmap("check")
      #expect(try topology.host.connectPorts() == ["8080", "8081", "9001"])
      // A lost entry is no reason for unmap to fail, and that of somebody else stays.
      try topology.host.exec(Tools.probe, "entry", "8081")
      try portmap("unmap", "--all")
      #expect(try topology.host.connectPorts() == ["9001"])
      try topology.host.exec(Tools.probe, "entry", "9001")
    }
  }

  /// The same ports in two namespaces, and two state folders in one of them.
  @Test func everyNamespaceAndFolderForItself() throws {
    try withTopology { one in
      try withTopology { two in
        for topology in [one, two] { try serve(topology) }
        try one.web.serve(.tcp, Address.web, "81", name: "first")
        try two.web.serve(.tcp, Address.web, "82", name: "second")
        var other = one.portmap
        other.state = one.folder + "/other"
        try one.portmap("map", "8080:81", "--to", Address.web)
        try two.portmap("map", "8080:82", "--to", Address.web)
        try other("map", "8081:80", "--to", Address.web)
        #expect(try one.host.ask(.tcp, "127.0.0.1", 8080).name == "first")
        #expect(try two.host.ask(.tcp, "127.0.0.1", 8080).name == "second")
        #expect(try one.host.ask(.tcp, "127.0.0.1", 8081).name == "web")
        for portmap in [one.portmap, two.portmap, other] { try portmap("check") }
        try one.portmap("unmap", "--all")
        #expect(try one.host.connectPorts() == ["8081"] && two.host.connectPorts() == ["8080"])
        try other("check")
        try other("unmap", "--all")
        #expect(try two.host.ask(.tcp, "127.0.0.1", 8080).name == "second")
      }
    }
  }

  /// What a namespace leaves that is gone with its state goes with the next command elsewhere.
  @Test(arguments: [["unmap", "--if-exists", "1"], ["repair"], ["map", "8080:80", "--to", Address.web]])
  func aNamespaceThatIsGone(_ next: [String]) throws {
    try withTopology { topology in
      let cleanup = Cleanup()
      defer { cleanup.run() }
      let gone = try Namespace("d", cleanup)
      let portmap = Portmap(gone, state: topology.folder + "/gone", Cleanup())
      try gone.ip("link", "add", "br0", "type", "bridge")
      try gone.ip("addr", "add", "10.98.0.1/24", "dev", "br0")
      try portmap("map", "8000-8009:80-89", "--to", "10.98.0.2")
      let cookie = try gone.exec(Tools.probe, "cookie").lines[0]
      cleanup.add { try? FileManager.default.removeItem(atPath: "/run/portmap/netns-\(cookie)") }
      func left() throws -> Int {
        try topology.host.exec(Tools.probe, "entries", "--namespace", cookie).lines.count
      }
      try topology.portmap.run(next)
      #expect(try left() == 10, "it is there")
      try gone.killProcesses()
      try run(["ip", "netns", "del", gone.name])
      try eventually("the dead namespace's entries stay") {
        try topology.portmap.run(next.first == "map" ? ["map", "0:80", "--to", Address.web] : next)
        return try left() == 0
      }
    }
  }

  /// A container with process numbers of its own sees neither the host's processes nor what they have mounted.
  @Test func whoDoesNotSeeAllProcessesRemovesNothing() throws {
    try withTopology { topology in
      try serve(topology)
      try topology.portmap("map", "8080:80", "--to", Address.web)
      let cleanup = Cleanup()
      defer { cleanup.run() }
      let other = try Namespace("d", cleanup)
      try other.ip("link", "add", "br0", "type", "bridge")
      try other.ip("addr", "add", "10.98.0.1/24", "dev", "br0")
      var portmap = Portmap(other, state: topology.folder + "/other", cleanup)
      portmap.prefix = ["unshare", "--pid", "--fork", "--mount-proc"]
      try portmap("map", "8000:80", "--to", "10.98.0.2", "--", "true")
      #expect(try ask(topology, "127.0.0.1", 8080).peer == "\(Address.web) 80")
      try topology.portmap("check")
    }
  }

  /// Where it cannot be had, the proxy serves without a word.
  @Test(arguments: [
    (["setpriv", "--bounding-set=-sys_admin"], "takes root on the host"), (["unshare", "-Ur"], nil),
  ])
  func withoutPrivileges(_ prefix: [String], _ reason: String?) throws {
    try withTopology { topology in
      try serve(topology)
      var portmap = topology.portmap
      portmap.prefix = prefix
      if let reason {
        let outcome = try portmap("map", "8080:80", "--to", Address.web)
        #expect(outcome.stderr.split(separator: "\n").allSatisfy { $0.contains("turned on") }, "\(outcome)")
        let told = try portmap("map", "-v", "8081:80", "--to", Address.web)
        #expect(
          told.stderr.contains("the proxy serves loopback: the program on connect(2) \(reason)"),
          "\(told)"
        )
        #expect(try portmap.list().mappings.map(\.connect) == [false, false])
        #expect(try ask(topology, "127.0.0.1", 8080).peer == "127.0.0.1 8080")
        try portmap("check")
        try portmap("unmap", "--all")
      } else {
        let outcome = try portmap("map", "8080:80", "--to", Address.web, "--proxy-only")
        #expect(outcome.stderr.isEmpty)
      }
    }
  }

  /// Clients in other cgroups are led, and portmap in a cgroup namespace leaves the host's root alone.
  @Test func cgroups() throws {
    try withTopology { topology in
      try serve(topology)
      let mounts = try run(["cat", "/proc/self/mountinfo"]).lines.filter { $0.contains(" - cgroup2 ") }
      let root = try #require(mounts.first?.split(separator: " ")[4])
      let folder = "\(root)/portmap-test-\(topology.host.name)"
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
      topology.cleanup.add {
        try eventually("\(folder) is in use") { rmdir(folder) == 0 }
      }
      func inside(_ words: [String]) throws -> Outcome {
        let script = "echo $$ >\"$0/cgroup.procs\" && exec ip netns exec \"$@\""
        return try run(["sh", "-c", script, folder, topology.host.name] + words)
      }
      try topology.portmap("map", "8080:80", "--to", Address.web)
      let client = try inside([Tools.probe, "ask", "tcp", "127.0.0.1", "8080", "--peer"])
      #expect(client.lines.first == "\(Address.web) 80")
      let program = [
        "unshare", "-C", "env", "PORTMAP_STATE_DIR=\(topology.folder)/inside", Tools.portmap, "map", "-v",
        "--json",
        "8081:80", "--to", Address.web,
      ]
      let outcome = try inside(program)
      #expect(try outcome.json([MappingRecord].self).map(\.connect) == [false])
      #expect(outcome.stderr.contains("and this is a cgroup namespace"), "\(outcome)")
      #expect(try ask(topology, "127.0.0.1", 8081).peer == "127.0.0.1 8081")
      // The background process is in there.
      try topology.host.killProcesses()
    }
  }

  /// A declared mapping stays as it is, and leads elsewhere when it is declared so.
  @Test func applied() throws {
    try withTopology { topology in
      try serve(topology)
      try topology.other.serve(.tcp, Address.other, "80", name: "other")
      let file = topology.folder + "/portmap.conf"
      func apply(_ backend: String) throws -> Outcome {
        try "map 8080:80 --to \(backend)\n".write(toFile: file, atomically: true, encoding: .utf8)
        return try topology.portmap("apply", file)
      }
      _ = try apply(Address.web)
      let id = try topology.portmap.list().mappings[0].id
      #expect(try apply(Address.web).stdout.isEmpty)
      #expect(try topology.portmap.list().mappings[0].id == id)
      _ = try apply(Address.other)
      #expect(try ask(topology, "127.0.0.1", 8080).peer == "\(Address.other) 80")
      try topology.host.exec(Tools.probe, "entry", "8080")
      _ = try apply(Address.other)
      try topology.portmap("check")
      _ = try apply(Address.web)
      #expect(try ask(topology, "127.0.0.1", 8080).peer == "\(Address.web) 80")
      #expect(try topology.host.connectPorts() == ["8080"])
    }
  }

  /// For as long as a command runs, and again after a state that was lost.
  @Test func commandsAndSalvage() throws {
    try withTopology { topology in
      try serve(topology)
      let words = [Tools.probe, "ask", "tcp", "127.0.0.1", "8080", "--peer"]
      let outcome = try topology.portmap.run(["map", "8080:80", "--to", Address.web, "--"] + words)
      #expect(outcome.lines.first == "\(Address.web) 80")
      #expect(try topology.host.connectPorts().isEmpty)
      try topology.portmap("map", "8081:80", "--to", Address.web)
      try "{".write(toFile: topology.portmap.state + "/state.json", atomically: false, encoding: .utf8)
      try topology.portmap("repair")
      try topology.portmap("check")
      #expect(try topology.portmap.list().mappings.map(\.connect) == [true])
      try topology.portmap("unmap", "--all")
      #expect(try topology.host.connectPorts().isEmpty)
    }
  }

  /// A reserved port answers nobody, whoever leads; mapped, it is led.
  @Test func reservedPorts() throws {
    try withTopology { topology in
      try serve(topology)
      try topology.portmap("alloc", "8080")
      #expect(try topology.host.connectPorts().isEmpty)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080, timeout: 0.3).verdict == .silent)
      try topology.portmap("map", "8080:80", "--to", Address.web)
      #expect(try ask(topology, "127.0.0.1", 8080).peer == "\(Address.web) 80")
    }
  }

  /// Namespaces that come and go at once, each of which may be the first or the last one of the host's.
  @Test func manyAtOnce() throws {
    try withTopology { topology in
      try serve(topology)
      let script = """
        for round in 1 2 3 4 5; do
          "$0" map $1:80 --to 10.99.0.2 && "$0" check && "$0" unmap $1 || exit 1
        done
        """
      let children = try (0..<6).map { number in
        var portmap = topology.portmap
        portmap.state = topology.folder + "/state\(number)"
        return try portmap.namespace.start(
          ["sh", "-c", script, Tools.portmap, "\(9000 + number)"],
          environment: ["PORTMAP_STATE_DIR": portmap.state]
        )
      }
      for child in children { try child.wait(timeout: 60).expecting(0) }
      #expect(try topology.host.connectPorts().isEmpty)
    }
  }
}
