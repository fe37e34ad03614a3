import Foundation
import Testing

/// State folders: which are used, which are refused, and several side by side.
@Suite struct StateFolderTests {
  typealias Address = Topology.Address

  @Test func twoInOneNamespace() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.other.serve(.tcp, Address.other, "80", name: "other")
      let before = try topology.host.snapshot()
      let first = topology.portmap
      var second = first
      second.state += "-2"
      try first("map", "8080:80", "--to", Address.web)
      let firstAlone = try topology.host.snapshot()
      try second("map", "8081:80", "--to", Address.other)
      // The same backend in both.
      try second("map", "8082:80", "--to", Address.web)
      #expect(try first.list().mappings.map(\.hostPort) == [8080])
      #expect(try second.list().mappings.map(\.hostPort) == [8081, 8082])
      try second("map", "8080:80", "--to", Address.other, status: 3)
      try second("unmap", "8080", status: 5)
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).name == "other")
      try second("unmap", "--all")
      #expect(Set(try topology.host.rules()) == Set(firstAlone.rules))
      #expect(try topology.host.processes().count == 1)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      try second("map", "8081:80", "--to", Address.other)
      try first("unmap", "--all")
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).peer == Address.outside)
      try second("unmap", "8081")
      try topology.host.expectUnchanged(before)
    }
  }

  @Test func eachHasABridgeOfItsOwn() throws {
    try withServers { topology in
      let before = try topology.host.snapshot()
      let first = topology.portmap
      var second = first
      second.state += "-2"
      let guests = [try Namespace("p", topology.cleanup), try Namespace("q", topology.cleanup)]
      #expect(try first("alloc", "--netns", guests[0].name).stdout == "172.16.42.2\n")
      #expect(try second("alloc", "--netns", guests[1].name).stdout == "10.0.42.2\n")
      // The other's bridge is one like any other to it, and does not become its own.
      try second("alloc", "--ip", "--bridge", "portmap0")
      #expect(try second("alloc", "--ip").stdout == "10.0.42.3\n")
      for guest in guests {
        #expect(try guest.ask(.tcp, Address.outside, 9000).peer == Address.host)
      }
      try first("unmap", "--all")
      #expect(try second.list("10.0.42.2").addresses.map(\.bridge) == ["portmap1"])
      #expect(try guests[1].ask(.tcp, Address.outside, 9000).peer == Address.host)
      try second("unmap", "--all")
      #expect(try topology.host.snapshot() == before)
    }
  }

  @Test func permissionsOfTheFolder() throws {
    try withHost { portmap, _ in
      try portmap("alloc", "8080")
      let attributes = try FileManager.default.attributesOfItem(atPath: portmap.state)
      #expect(attributes[.posixPermissions] as? Int == 0o755)
      #expect(FileManager.default.fileExists(atPath: portmap.state + "/state.json"))
    }
  }

  @Test(arguments: ["000", "077"])
  func theCallersMaskIsNoMatter(_ mask: String) throws {
    try withHost { portmap, host in
      try portmap.shell("umask \(mask); exec \"$0\" alloc 8080")
      let files = FileManager.default
      #expect(try files.attributesOfItem(atPath: portmap.state)[.posixPermissions] as? Int == 0o755)
      for name in try files.contentsOfDirectory(atPath: portmap.state) {
        let mode = try files.attributesOfItem(atPath: portmap.state + "/" + name)[.posixPermissions] as? Int
        #expect((mode ?? 0o777) & 0o077 == 0, "\(name): \(mode ?? 0)")
      }
      #expect(try portmap.list().reservations.count == 1)
      try portmap("unmap", "--all")
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func foldersThatAreRefused() throws {
    try withHost { portmap, host in
      let files = FileManager.default
      let link = portmap.state + "-link"
      let open = portmap.state + "-open"
      let strangers = portmap.state + "-strangers"
      try files.createDirectory(atPath: portmap.state, withIntermediateDirectories: false)
      try files.createSymbolicLink(atPath: link, withDestinationPath: portmap.state)
      try files.createDirectory(atPath: open, withIntermediateDirectories: false)
      try files.setAttributes([.posixPermissions: 0o777], ofItemAtPath: open)
      try files.createDirectory(
        atPath: strangers,
        withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o755, .ownerAccountID: 65000]
      )
      for folder in [link, open, strangers] {
        var other = portmap
        other.state = folder
        for arguments in [["alloc", "8080"], ["list"], ["unmap", "8080"]] {
          let outcome = try other.run(arguments, status: 1)
          #expect(outcome.stderr.contains(folder), "\(outcome)")
        }
        #expect(try host.processes().isEmpty)
      }
    }
  }

  private func makeDirectory(_ path: String, mode: Int = 0o755, owner: Int = 0) throws {
    try FileManager.default.createDirectory(
      atPath: path,
      withIntermediateDirectories: false,
      attributes: [.ownerAccountID: owner]
    )
    try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
  }

  /// A link that is refused, or that leads to where a folder would have to be made, has nothing behind it afterwards.
  @Test(arguments: ["its own", "a stranger's", "in an open folder"])
  func nothingIsMadeBehindALink(_ kind: String) throws {
    try withHost { portmap, host in
      let files = FileManager.default
      let place = portmap.state + "-place"
      let target = portmap.state + "-target"
      let link = place + "/portmap"
      try makeDirectory(place, mode: kind == "in an open folder" ? 0o777 : 0o755)
      try makeDirectory(target)
      try files.createSymbolicLink(atPath: link, withDestinationPath: target)
      if kind == "a stranger's" { #expect(lchown(link, 65000, 65000) == 0) }
      var other = portmap
      if kind == "its own" {
        // The folder above that of the namespace is one of portmap's own, too.
        #expect(lchown(link, 65000, 65000) == 0 && chown(target, 65000, 65000) == 0)
        other.state = ""
        other.environment = ["XDG_RUNTIME_DIR": place]
        other.prefix = Tools.ordinaryUser
        other.binary = portmap.state + "-portmap"
        try run(["cp", Tools.portmap, other.binary])
      } else {
        other.state = link + "/state"
      }
      let outcome = try other("alloc", "8080", status: 1)
      #expect(outcome.stderr.contains(link) && outcome.stderr.contains("symbolic link"), "\(outcome)")
      #expect(try files.contentsOfDirectory(atPath: target).isEmpty)
      #expect(try host.processes().isEmpty)
    }
  }

  /// As /var/run, which root has put where nobody else can.
  @Test func aLinkOfRootsIsFollowed() throws {
    try withHost { portmap, host in
      let files = FileManager.default
      let target = portmap.state + "-target"
      let link = portmap.state + "-link"
      try makeDirectory(target)
      try files.createSymbolicLink(atPath: link, withDestinationPath: target)
      var other = portmap
      other.state = link + "/a/b"
      try other("alloc", "8080")
      #expect(files.fileExists(atPath: target + "/a/b/state.json"))
      other.state = target + "/a/b"
      #expect(try other.list().reservations.map(\.port) == [8080])
    }
  }

  /// The folder itself counts, not where it lies and what it is called.
  @Test(arguments: ["open/netns-1", "open/state.json", "strange/link/x"])
  func aFolderThatIsThereIsUsedAsItIs(_ name: String) throws {
    try withHost { portmap, _ in
      let files = FileManager.default
      let place = portmap.state + "-place"
      try makeDirectory(place)
      try makeDirectory(place + "/open", mode: 0o777)
      try makeDirectory(place + "/strange", mode: 0o777, owner: 65000)
      try makeDirectory(place + "/target")
      try makeDirectory(place + "/target/x")
      try files.createSymbolicLink(
        atPath: place + "/strange/link",
        withDestinationPath: place + "/target"
      )
      var other = portmap
      other.state = place + "/" + name
      if !files.fileExists(atPath: other.state) { try makeDirectory(other.state) }
      #expect(try other("alloc", "8080").stdout == "8080\n")
      #expect(files.fileExists(atPath: other.state + "/state.json"))
    }
  }

  @Test(arguments: [false, true])
  func lookingMakesNothing(withFolder: Bool) throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let run = try makeFolder(cleanup)
    var portmap = Portmap(try Namespace("h", cleanup), run: run, cleanup)
    if withFolder { portmap.state = run + "/a/state" }
    for command in [
      ["list"], ["list", "--json"], ["check"], ["check", "--json"], ["repair", "-n"], ["alloc", "-n"],
    ] {
      try portmap.run(command)
      #expect(try FileManager.default.contentsOfDirectory(atPath: run).isEmpty, "\(command)")
    }
    // What a state that is lost has left is found all the same.
    try portmap("map", "8080:80", "--to", "10.99.0.2")
    for pid in try portmap.namespace.processes() { kill(pid, SIGKILL) }
    try FileManager.default.removeItem(atPath: withFolder ? portmap.state : run + "/portmap")
    let outcome = try portmap("check", status: 1)
    #expect(outcome.stdout.contains("PORTMAP-"), "\(outcome)")
    try portmap("repair")
    #expect(try portmap.namespace.tags().isEmpty)
  }

  /// `/run/portmap/` is /run/portmap: the same rules, the same lock.
  @Test func aSlashAtTheEndMeansNothing() throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let run = try makeFolder(cleanup)
    let host = try Namespace("h", cleanup)
    let portmap = Portmap(host, run: run, cleanup)
    try portmap("map", "8080:80", "--to", "10.99.0.2")
    var same = portmap
    same.state = "/run/portmap/netns-\(try host.exec(Tools.probe, "cookie").lines[0])//"
    try same("map", "8081:80", "--to", "10.99.0.2")
    #expect(try portmap.list().mappings.map(\.hostPort) == [8080, 8081])
    #expect(Set(try host.tags()).count == 1)
    #expect(try portmap("check").stdout.isEmpty)
    #expect(try same("check").stdout.isEmpty)
    // Each in a fresh state, too.
    let tags = Set(try host.tags())
    try same("unmap", "--all")
    try FileManager.default.removeItem(atPath: run + "/portmap")
    try same("map", "8081:80", "--to", "10.99.0.2")
    #expect(Set(try host.tags()) != [])
    #expect(Set(try host.tags()).count == tags.count)
    try portmap("unmap", "--all")
    #expect(try host.tags().isEmpty)
  }

  @Test(arguments: [
    "", "{", "[]", "null", "{\"version\":999999}", "{\"version\":\"one\"}", "not json at all",
  ])
  func filesThatAreNotUnderstood(_ text: String) throws {
    try withHost { portmap, host in
      let path = portmap.state + "/state.json"
      try FileManager.default.createDirectory(
        atPath: portmap.state,
        withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o755]
      )
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      for arguments in [["alloc", "8080"], ["list"], ["unmap", "8080"], ["unmap", "--all"]] {
        let outcome = try portmap.run(arguments, status: 1)
        #expect(outcome.stderr.contains(path), "\(outcome)")
      }
      #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(text.utf8))
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func aFileThatIsALink() throws {
    try withHost { portmap, _ in
      try portmap("alloc", "8080")
      let path = portmap.state + "/state.json"
      try FileManager.default.moveItem(atPath: path, toPath: path + ".real")
      try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: path + ".real")
      #expect(try portmap("list", status: 1).stderr.contains(path))
      try FileManager.default.removeItem(atPath: path)
      try FileManager.default.moveItem(atPath: path + ".real", toPath: path)
      #expect(try portmap.list().reservations.map(\.port) == [8080])
    }
  }

  /// Without a folder given, each network namespace has a state of its own.
  @Test func anotherNamespaceIsAnotherState() throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let run = try makeFolder(cleanup)
    let portmaps = try ["h", "i"].map { Portmap(try Namespace($0, cleanup), run: run, cleanup) }
    try portmaps[0]("alloc", "8080")
    try portmaps[1]("alloc", "8080")
    try portmaps[1]("alloc", "8081")
    #expect(try portmaps[0].list().reservations.map(\.port) == [8080])
    #expect(try portmaps[1].list().reservations.map(\.port) == [8080, 8081])
    try portmaps[0]("unmap", "--all")
    #expect(try portmaps[0].list().isEmpty)
    #expect(try portmaps[1].list().reservations.count == 2)
    #expect(try portmaps[1].namespace.processes().count == 2)
    let folders = try FileManager.default.contentsOfDirectory(atPath: run + "/portmap")
    #expect(folders.filter { $0.wholeMatch(of: /netns-\d+/) != nil }.count >= 1, "\(folders)")
    #expect(!FileManager.default.fileExists(atPath: run + "/portmap/state.json"))
  }

  /// A namespace of the same name, and often of the same inode, is another one all the same.
  @Test(arguments: [false, true])
  func aNamespaceMadeAgain(withFolder: Bool) throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let host = try Namespace("h", cleanup)
    let made =
      ["add eth0 type bridge", "set eth0 up"].map { "link \($0)" } + ["addr add 10.99.0.1/24 dev eth0"]
    var portmap = Portmap(host, run: folder, cleanup)
    if withFolder { portmap.state = folder + "/state" }
    try host.ip(batch: made)
    let before = try host.snapshot()
    let old = try #require(try portmap.map("8080:80", "--to", "10.99.0.2").first)
    try portmap("alloc", "--ip", "--name", "web")
    // It keeps the old namespace alive.
    let pid = try #require(old.pid)
    cleanup.add { kill(pid, SIGKILL) }
    try run(["ip", "netns", "del", host.name])
    try run(["ip", "netns", "add", host.name])
    try host.ip(batch: ["link set lo up"] + made)
    #expect(try portmap.list().isEmpty)
    #expect(try portmap("map", "8080:80", "--to", "10.99.0.3").stdout == "8080->10.99.0.3:80\n")
    #expect(try portmap.list().mappings.map(\.backendIP) == ["10.99.0.3"])
    try portmap("unmap", "--all")
    try host.expectUnchanged(before)
  }

  @Test func aStateOfAnotherNamespaceHoldsNothing() throws {
    try withHost { portmap, _ in
      try portmap("alloc", "8080")
      let cleanup = Cleanup()
      defer { cleanup.run() }
      let elsewhere = Portmap(try Namespace("i", cleanup), state: portmap.state + "-copy", cleanup)
      try FileManager.default.createDirectory(
        atPath: elsewhere.state,
        withIntermediateDirectories: false,
        attributes: [.posixPermissions: 0o755]
      )
      try FileManager.default.copyItem(
        atPath: portmap.state + "/state.json",
        toPath: elsewhere.state + "/state.json"
      )
      #expect(try elsewhere("alloc", "8080").stdout == "8080\n")
      // What the copy names is of the other namespace, and left alone.
      try elsewhere("unmap", "--all")
      #expect(try portmap.namespace.sockets(.tcp, 8080).count == 1)
      #expect(try portmap.list().reservations.map(\.port) == [8080])
    }
  }

  /// The folder whose lock covers a namespace's rules holds nothing else where all states are elsewhere: commands of
  /// other namespaces delete it while this one's make it.
  @Test func foldersThatComeAndGo() throws {
    try withTopology { topology in
      let other = Portmap(topology.outside, state: topology.folder + "/outside", topology.cleanup)
      let script = """
        for round in 1 2 3 4 5 6 7 8 9 10; do
          "$0" map --no-proxy "$1:80" --to 10.99.0.2 && "$0" unmap "$1" || exit 1
        done
        """
      let users = try (0..<8).map { number in
        var portmap = number.isMultiple(of: 2) ? topology.portmap : other
        portmap.state += "-\(number)"
        return try portmap.namespace.start(
          ["sh", "-c", script, Tools.portmap, "\(8000 + number)"],
          environment: ["PORTMAP_STATE_DIR": portmap.state]
        )
      }
      for user in users {
        let outcome = user.wait(timeout: 60)
        #expect(outcome.status == 0, "\(outcome)")
      }
    }
  }
}
