import Foundation
import Testing

/// `apply`: what a file declares is there, once, and nothing else of it.
@Suite struct ApplyTests {
  typealias Address = Topology.Address

  // MARK: what is made, kept and released

  @Test func whatIsDeclaredIsMadeOnce() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let file = try topology.declare(
        """
        # a comment, and a blank line

        map 8080:80 '53:53/tcp+udp' --to "\(Address.web)"   # another
        \tmap 127.0.0.1:5432:5432 --to 10.99.0.\\3
        alloc 9000-9005/udp
        map 8000-8010:80-90 --to \(Address.other)
        """
      )
      let portmap = topology.portmap
      let expected = [
        "mapped 8080->10.99.0.2:80", "mapped 53->10.99.0.2:53", "mapped 53->10.99.0.2:53/udp",
        "mapped 127.0.0.1:5432->10.99.0.3:5432", "reserved 9000/udp", "mapped 8000-8010->10.99.0.3:80-90",
      ]
      let made = try portmap("apply", file)
      #expect(made.lines == expected)
      #expect(try topology.host.processes().count == 1, "one process a call")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      let list = try portmap.list()
      #expect(Set(list.mappings.map(\.origin) + list.reservations.map(\.origin)) == [file])
      try portmap("check")

      let processes = try topology.host.processes()
      let sockets = try topology.host.sockets(.tcp, 8080)
      let again = try portmap("apply", file)
      #expect(again.stdout.isEmpty && again.stderr.isEmpty, "\(again)")
      #expect(try portmap("apply", "--json", file).stdout == unchanged(6))
      #expect(try portmap.list() == list)
      #expect(try topology.host.processes() == processes)
      #expect(try topology.host.sockets(.tcp, 8080) == sockets)
    }
  }

  private func unchanged(_ count: Int) -> String {
    "{\"added\":[],\"failed\":[],\"removed\":[],\"unchanged\":\(count)}\n"
  }

  @Test func whatIsNotDeclaredAnyMoreIsReleased() throws {
    try withTopology { topology in
      let clean = try topology.host.snapshot()
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 8081:81 --to 10.99.0.2\nalloc 9000\nalloc 9001")
      let other = try topology.declare("alloc 9100", as: "other.conf")
      try portmap("apply", file)
      try portmap("apply", other)
      try portmap("map", "8090:80", "--to", Address.web)
      // Lines may move; what they say is what counts.
      try topology.declare("\nalloc 9001\nmap 8081:81 --to 10.99.0.2")
      #expect(try portmap("apply", "-n", file).lines == ["unmapped 8080->10.99.0.2:80", "released 9000"])
      #expect(try portmap("apply", file).lines == ["unmapped 8080->10.99.0.2:80", "released 9000"])
      #expect(try portmap.list().mappings.map(\.hostPort).sorted() == [8081, 8090])
      #expect(try portmap.list().reservations.map(\.port).sorted() == [9001, 9100])
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty)
      try portmap("check")
      try topology.declare("")
      #expect(try portmap("apply", file).lines == ["unmapped 8081->10.99.0.2:81", "released 9001"])
      try portmap("unmap", "8090", "9100")
      try topology.host.expectUnchanged(clean)
    }
  }

  @Test(arguments: Transport.allCases)
  func aChangedBackendKeepsTheSocket(_ transport: Transport) throws {
    try withTopology { topology in
      try topology.web.serve(transport, Address.web, "80", name: "web")
      try topology.other.serve(transport, Address.other, "80", name: "other")
      let portmap = topology.portmap
      let spec = "8080:80\(transport.suffix)"
      let file = try topology.declare("map \(spec) --to \(Address.web)\nmap 0:80 --to \(Address.web)")
      try portmap("apply", file)
      let automatic = try #require(try portmap.list().mappings.map(\.hostPort).max())
      let sockets = try topology.host.sockets(transport, 8080)
      #expect(sockets.count == 1)
      #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
      #expect(try topology.outside.ask(transport, Address.host, 8080).name == "web")
      try topology.declare("map \(spec) --to \(Address.other)\nmap 0:80 --to \(Address.other)")
      let changed = try portmap("apply", "--json", file)
      let document = try JSONDecoder().decode(ApplyDocument.self, from: Data(changed.stdout.utf8))
      #expect(document.removed.compactMap(\.backendIP) == [Address.web, Address.web])
      #expect(document.added.compactMap(\.backendIP) == [Address.other, Address.other])
      #expect(document.added.compactMap(\.hostPort) == [8080, automatic], "the automatic port stays, too")
      #expect(try topology.host.sockets(transport, 8080) == sockets)
      #expect(try topology.host.processes().count == 1)
      // By the proxy and by the rules.
      #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "other")
      #expect(try topology.outside.ask(transport, Address.host, 8080).name == "other")
      try portmap("check")
      try topology.declare("")
      try portmap("apply", file)
      #expect(try topology.host.sockets(transport, 8080).isEmpty)
    }
  }

  struct ApplyDocument: Decodable {
    struct Item: Decodable {
      let backendIP: String?
      let hostPort: Int?
      let port: Int?
      let ip: String?
    }
    struct Failed: Decodable {
      let line: Int
      let problem: String
      let status: Int32
    }
    let added: [Item]
    let failed: [Failed]
    let removed: [Item]
    let unchanged: Int
  }

  /// A port goes from one kind of declaration to another and is never free.
  @Test func aPortThatChangesItsKindKeepsTheSocket() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let portmap = topology.portmap
      let kinds: [(line: String, isServed: Bool)] = [
        ("alloc 8080", false), ("map 8080:80 --to \(Address.web)", true), ("alloc 8080", false),
        ("map 8080:80 --to \(Address.web) --no-proxy", false),
        ("map 8080:80 --to \(Address.web) --proxy-only", true),
        ("map 8080:80 --to \(Address.web) --no-proxy", false),
        ("map 8080:80 --to \(Address.web) --masquerade", true),
        ("map 8080-8082:80-82 --to \(Address.web)", true), ("map 8080:80 --to \(Address.web)", true),
      ]
      let file = try topology.declare(kinds[0].line)
      try portmap("apply", file)
      let sockets = try topology.host.sockets(.tcp, 8080)
      for kind in kinds {
        try topology.declare(kind.line)
        try portmap("apply", file)
        #expect(try topology.host.sockets(.tcp, 8080) == sockets, "\(kind.line)")
        try portmap("check")
        let answer = try topology.host.ask(.tcp, "127.0.0.1", 8080, timeout: kind.isServed ? 5 : 0.5)
        #expect((answer.name == "web") == kind.isServed, "\(kind.line)")
      }
    }
  }

  @Test func connectionsToTheOldBackendEnd() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "mute")
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 8081:81 --to \(Address.web)")
      try portmap("apply", file)
      let byProxy = try topology.host.startAsking(.tcp, "127.0.0.1", 8080, timeout: 30)
      let byRule = try topology.outside.startAsking(.tcp, Address.host, 8080, timeout: 30)
      try eventually("no connections") { try topology.web.connections(from: 80) == 2 }
      try topology.declare("map 8080:80 --to \(Address.other)\nmap 8081:81 --to \(Address.web)")
      try portmap("apply", file)
      #expect(byProxy.wait(timeout: 5).status != -1, "the proxy's connection is still there")
      let tracked = try topology.host.exec("conntrack", "-L", "-p", "tcp", "--orig-port-dst", "8080").lines
      #expect(!tracked.contains { $0.contains("src=\(Address.web) ") }, "\(tracked)")
      byRule.kill()
    }
  }

  /// A port on every address and the same on one of them cannot be had at once.
  @Test func anotherHostAddressIsClosedFirst() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 --to \(Address.web)")
      try portmap("apply", file)
      try topology.declare("map 127.0.0.1:8080:80 --to \(Address.web)")
      let change = ["mapped 127.0.0.1:8080->10.99.0.2:80", "unmapped 8080->10.99.0.2:80"]
      #expect(try portmap("apply", "-n", file).lines == change)
      #expect(try portmap("apply", file).lines == change)
      try portmap("check")
      // The new one fails: the address is none of this host's.
      try topology.declare("map 127.0.0.1:8080:80 --to \(Address.web)\nmap 8081:80 --to \(Address.web)")
      try portmap("apply", file)
      try topology.declare("map 8080:80 --to 192.0.2.1\nmap 8081:80 --to \(Address.web)")
      let failed = try portmap("apply", file, status: 1)
      #expect(failed.stderr.contains("\(file):1: 192.0.2.1 is this host's own address"), "\(failed)")
      #expect(Set(try portmap.list().mappings.map(\.hostIP)) == ["127.0.0.1", "*"])
      let served = try topology.host.sockets(.tcp, 8080)
      #expect(served.count == 1)
    }
  }

  @Test func theOldMappingStaysWhereTheNewOneFails() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 --to \(Address.web)")
      try portmap("apply", file)
      let sockets = try topology.host.sockets(.tcp, 8080)
      try topology.declare("map 8080:80 --to nobody")
      let failed = try portmap("apply", file, status: 1)
      #expect(failed.stdout.isEmpty)
      #expect(
        failed.stderr.contains("\(file):1: 'nobody' is neither an allocated address nor a network namespace")
      )
      #expect(try topology.host.sockets(.tcp, 8080) == sockets)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
    }
  }

  // MARK: names and addresses

  @Test func namespacesAreDeclaredAboveTheirUse() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let clean = try topology.host.snapshot()
      let guest = try Namespace("n", topology.cleanup)
      try guest.serve(.tcp, "0.0.0.0", "80", name: "guest")
      let file = try topology.declare(
        "alloc --netns \(guest.name)\nalloc --ip --name db\nmap 8080:80 --to \(guest.name)"
      )
      #expect(
        try portmap("apply", file).lines == [
          "reserved 172.16.42.2 (\(guest.name))", "reserved 172.16.42.3 (db)", "mapped 8080->172.16.42.2:80",
        ]
      )
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "guest")
      #expect(try portmap.list().addresses.map(\.origin) == [file, file])
      #expect(try portmap("apply", "--json", file).stdout == unchanged(3))
      try portmap("check")
      // Somebody else's mapping keeps the address.
      try portmap("map", "8081:80", "--to", "db")
      try topology.declare("")
      let gone = try portmap("apply", file)
      #expect(gone.lines == ["released 172.16.42.2 (\(guest.name))", "unmapped 8080->172.16.42.2:80"])
      #expect(gone.stderr.contains("172.16.42.3 (db) stays: 8081->172.16.42.3:80 leads there"))
      try portmap("unmap", "8081")
      #expect(try portmap("apply", file).lines == ["released 172.16.42.3 (db)"])
      try portmap("unmap", "--all")
      try topology.host.expectUnchanged(clean)
    }
  }

  @Test func aLineWithoutBackendGetsTheNextAddress() throws {
    try withHost { portmap, host in
      let file = portmap.state.replacing("/state", with: "/portmap.conf")
      try write("map 8080:80 8443:443\nmap 8081:80", to: file)
      let lines = [
        "mapped 8080->172.16.42.2:80", "mapped 8443->172.16.42.2:443", "mapped 8081->172.16.42.3:80",
      ]
      #expect(try portmap("apply", file).lines == lines)
      #expect(try portmap("apply", "--json", file).stdout == unchanged(5))
      try portmap("unmap", "8443")
      #expect(try portmap("apply", file).lines == ["mapped 8443->172.16.42.2:443"])
      try write("", to: file)
      try portmap("apply", file)
      #expect(try portmap.list().addresses.isEmpty)
      try portmap("unmap", "--all")
      #expect(try host.processes().isEmpty)
    }
  }

  // MARK: mistakes

  @Test(arguments: [
    ("map", "map needs a spec"), ("map 80/", "invalid spec '80/'"),
    ("unmap 80", "expected map or alloc, not 'unmap'"),
    ("portmap map 80", "expected map or alloc, not 'portmap'\nhint: a line begins without the word portmap"),
    ("map 8080:80 'x", "a quote (') is not closed"),
    ("map 8080:80 \\", "nothing follows the backslash"),
    ("map 8080:80 --json", "option --json has no place in a file"),
    ("alloc --lend 80", "option --lend has no place in a file"),
    ("map 80 -n", "option -n has no place in a file"),
    ("alloc 80 -- true", "-- CMD has no place in a file"), ("map 80 --frob", "unknown option '--frob'"),
    ("map 80 $HOME", "invalid spec '$HOME'"), ("alloc 7000", "7000 is declared at FILE:1 already"),
    ("map 127.0.0.1:7000:80 --to 10.0.0.2", "127.0.0.1:7000 is declared at FILE:1 already"),
    ("map 6990-7000:80-90 --to 10.0.0.2", "6990-7000 is declared at FILE:1 already"),
    ("alloc --ip --name web", "the name 'web' is declared at FILE:2 already"),
    (
      "map 81:80 --to below\nalloc --ip --name below",
      "'below' is declared at FILE:4: a name must be declared above"
    ),
    ("map 8080:80\r", "a control character (\\x0d)"),
  ])
  func aMistakeEndsItBeforeAnythingIsTried(_ line: String, _ message: String) throws {
    try withHost { portmap, host in
      let file = portmap.state.replacing("/state", with: "/portmap.conf")
      try write("map 7000:80 --to 10.0.0.2\nalloc --ip --name web\n\(line)\n", to: file)
      let outcome = try portmap("apply", file, status: 2)
      let expected = "portmap: \(file):3: " + message.replacing("FILE", with: file)
      #expect(outcome.stderr.hasPrefix(expected), "\(outcome)")
      #expect(outcome.stdout.isEmpty)
      #expect(!FileManager.default.fileExists(atPath: portmap.state), "nothing was tried")
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func everyWrongLineIsNamed() throws {
    try withHost { portmap, _ in
      let file = portmap.state.replacing("/state", with: "/portmap.conf")
      try write("map 80/\nalloc 1\nfrob\nmap 8080:80 --to 10.0.0.2", to: file)
      let lines = try portmap("apply", file, status: 2).stderr.split(separator: "\n")
      #expect(lines.count == 2 && lines[0].hasPrefix("portmap: \(file):1: "), "\(lines)")
      #expect(lines.last?.hasPrefix("portmap: \(file):3: expected map or alloc") ?? false, "\(lines)")
    }
  }

  // MARK: lines that cannot be made

  @Test func whatCanBeMadeIsMade() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let stranger = try topology.host.serve(.tcp, "0.0.0.0", "8081", name: "stranger")
      try portmap("alloc", "9001")
      try portmap("map", "8090:80", "--to", Address.web)
      let file = try topology.declare(
        """
        map 8080:80 --to \(Address.web)
        map 8081:80 8082:80 --to \(Address.web)
        alloc 9000
        alloc 9001
        map 8090:80 --to \(Address.web)
        """
      )
      let first = try portmap("apply", file, status: 3)
      #expect(first.lines == ["mapped 8080->10.99.0.2:80", "reserved 9000"])
      for text in ["\(file):2: cannot map 8081: address already in use", "\(file):4: ", "\(file):5: "] {
        #expect(first.stderr.contains("portmap: \(text)"), "\(first)")
      }
      #expect(try topology.host.sockets(.tcp, 8082).isEmpty, "all that a line asks for, or none of it")
      let check = try portmap("check", status: 1)
      #expect(
        check.lines.count == 3 && check.stdout.contains("\(file):2: cannot map 8081: address already in use")
      )
      #expect(check.stderr.hasSuffix("\nhint: portmap apply \(file)\n"))
      // Given again, it tries just what is missing.
      let document = try JSONDecoder()
        .decode(ApplyDocument.self, from: Data(portmap("apply", "--json", file, status: 3).stdout.utf8))
      #expect(document.added.isEmpty && document.unchanged == 2)
      #expect(document.failed.map(\.line) == [2, 4, 5] && document.failed.map(\.status) == [3, 3, 3])
      stranger.kill()
      try portmap("unmap", "9001", "8090")
      let second = try portmap("apply", file)
      #expect(
        second.lines == [
          "mapped 8081->10.99.0.2:80", "mapped 8082->10.99.0.2:80", "reserved 9001",
          "mapped 8090->10.99.0.2:80",
        ]
      )
      try portmap("check")
    }
  }

  @Test func theStatusIsThatOfAllFailures() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 --to nobody\nalloc --netns nowhere")
      let missing = try portmap("apply", file, status: 1)
      #expect(
        missing.stderr.contains("\(file):2: cannot plug in nowhere: there is no network namespace nowhere")
      )
      try topology.host.serve(.tcp, "0.0.0.0", "8081", name: "stranger")
      try topology.declare("alloc 8081\nmap 8080:80 --to nobody")
      try portmap("apply", file, status: 1)
      try topology.declare("alloc 8081")
      try portmap("apply", file, status: 3)
      try topology.declare("")
      try portmap("apply", file)
      try portmap("check")
    }
  }

  /// What the kernel refuses is found by halving.
  @Test func oneLineThatTheKernelRefusesDoesNotHinderTheOthers() throws {
    try withTopology { topology in
      let refusing = """
        for word; do last=$word; done
        grep -qs -e '-A.*--dport 8007 ' -- "$last" && { echo 'the kernel says no' >&2; exit 1; }
        exec "$real" "$@"
        """
      let portmap = try topology.portmap(with: ["iptables-restore": refusing])
      let lines = (8000..<8010).map { "map \($0):80 --to \(Address.web)" }
      let file = try topology.declare(lines.joined(separator: "\n"))
      let outcome = try portmap("apply", file, status: 1)
      #expect(outcome.lines.count == 9)
      #expect(outcome.stderr.contains("\(file):8: cannot map 8007:80: iptables-restore failed"), "\(outcome)")
      #expect(outcome.stderr.contains("the kernel says no"))
      #expect(try portmap.list().mappings.map(\.hostPort).sorted() == (8000..<8010).filter { $0 != 8007 })
      #expect(try topology.host.sockets(.tcp, 8007).isEmpty)
    }
  }

  // MARK: by hand

  @Test func unmapSaysWhichLineDeclaresIt() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 --to \(Address.web)\nalloc 9000")
      try portmap("apply", file)
      let unmapped = try portmap("unmap", "8080")
      #expect(unmapped.stderr.contains("\(file):1 declares 8080->10.99.0.2:80: the next apply"))
      #expect(try portmap("apply", file).lines == ["mapped 8080->10.99.0.2:80"])
      // A reservation that map has taken over counts as there.
      try portmap("map", "9000:90", "--to", Address.web)
      #expect(try portmap("apply", "--json", file).stdout == unchanged(2))
      #expect(try portmap("unmap", "9000").stderr.contains("\(file):2 declares 9000->"))
      #expect(try portmap("apply", file).lines == ["reserved 9000"])
    }
  }

  @Test func whatIsBrokenIsMendedOnTheWay() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let portmap = topology.portmap
      let file = try topology.declare("map 8080:80 --to \(Address.web)\nalloc 9000")
      try portmap("apply", file)
      try topology.host.exec("iptables", "-t", "nat", "-F")
      for pid in try topology.host.processes() { kill(pid, SIGKILL) }
      try eventually("it does not die") { try topology.host.processes().isEmpty }
      let mended = try portmap("apply", file)
      #expect(mended.stdout.isEmpty)
      try portmap("check")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      // A stranger has a port meanwhile: that line is named.
      for pid in try topology.host.processes() { kill(pid, SIGKILL) }
      try eventually("it does not die") { try topology.host.processes().isEmpty }
      try topology.host.serve(.tcp, "0.0.0.0", "9000", name: "stranger")
      let lost = try portmap("apply", file, status: 1)
      #expect(lost.stderr.contains("\(file):2: cannot hold 9000 again"), "\(lost)")
    }
  }

  // MARK: files

  @Test func standardInputHasAName() throws {
    try withHost { portmap, _ in
      let file = portmap.state.replacing("/state", with: "/portmap.conf")
      try write("alloc 9000\n", to: file)
      try portmap.shell("\"$0\" apply - < \(file)", status: 2)
      try portmap.shell("\"$0\" apply --origin 'a b' - < \(file)", status: 2)
      try portmap.shell("\"$0\" apply --origin one - < \(file)")
      try portmap.shell("echo alloc 9001 | \"$0\" apply --origin two -")
      #expect(try portmap.list().reservations.map(\.origin) == ["one", "two"])
      try portmap.shell("\"$0\" apply --origin one - < /dev/null")
      #expect(try portmap.list().reservations.map(\.port) == [9001])
      try portmap("apply", "--origin", "one", file, status: 2)
      try portmap("apply", file, file, status: 2)
    }
  }

  @Test func aFileThatOthersCanWriteToIsRefused() throws {
    try withHost { portmap, _ in
      let file = portmap.state.replacing("/state", with: "/portmap.conf")
      let folder = file.replacing("/portmap.conf", with: "")
      try write("alloc 9000\n", to: file)
      try portmap("apply", file)
      func refused(_ change: String..., undo: String...) throws {
        try run(change)
        let outcome = try portmap("apply", file, status: 1)
        #expect(outcome.stderr.contains("portmap: cannot apply: \(folder)"), "\(outcome)")
        #expect(try portmap.list().reservations.count == 1, "it releases nothing")
        try run(undo)
      }
      try refused("chmod", "666", file, undo: "chmod", "644", file)
      try refused("chown", "1000", file, undo: "chown", "0", file)
      try refused("chmod", "777", folder, undo: "chmod", "755", folder)
      try refused("mv", file, "\(file).away", undo: "mv", "\(file).away", file)
      try refused(
        "sh",
        "-c",
        "mv \(file) \(file).away; mkdir \(file)",
        undo: "sh",
        "-c",
        "rmdir \(file); mv \(file).away \(file)"
      )
      // A link to a file in such a folder is no better.
      try run([
        "sh", "-c",
        "mkdir \(folder)/open; mv \(file) \(folder)/open/a; chmod 777 \(folder)/open; ln -s open/a \(file)",
      ])
      #expect(try portmap("apply", file, status: 1).stderr.contains("\(folder)/open: others can write to it"))
      try run(["chmod", "755", "\(folder)/open"])
      #expect(
        try portmap("apply", "--json", file).stdout == unchanged(1),
        "the path is the one that was given"
      )
      #expect(try portmap("apply", "--json", "\(folder)/./open/../portmap.conf").stdout == unchanged(1))
    }
  }

  @Test func withoutFileItIsEtc() throws {
    try withHost { portmap, _ in
      let folder = portmap.state.replacing("/state", with: "")
      try run(["mkdir", "-p", "\(folder)/etc/portmap.d"])
      var other = portmap
      let overlay = "mount -t overlay overlay -o lowerdir=$0:/etc /etc && exec \"$@\""
      other.prefix = ["unshare", "--mount", "sh", "-c", overlay, "\(folder)/etc"]
      #expect(try other("apply", status: 1).stderr.contains("/etc/portmap.conf: no such file"))
      try write("alloc 9000\nalloc --ip --name db", to: "\(folder)/etc/portmap.conf")
      try write("map 8080:80 --to db", to: "\(folder)/etc/portmap.d/20-b.conf")
      try write("alloc 9001", to: "\(folder)/etc/portmap.d/10-a.conf")
      try write("frob", to: "\(folder)/etc/portmap.d/disabled")
      #expect(
        try other("apply").lines == [
          "reserved 9000", "reserved 172.16.42.2 (db)", "reserved 9001", "mapped 8080->172.16.42.2:80",
        ]
      )
      #expect(
        Set(try portmap.list().reservations.map(\.origin)) == [
          "/etc/portmap.conf", "/etc/portmap.d/10-a.conf",
        ]
      )
      try write("alloc 9000", to: "\(folder)/etc/portmap.d/10-a.conf")
      let twice = try other("apply", status: 2)
      #expect(
        twice.stderr.contains("/etc/portmap.d/10-a.conf:1: 9000 is declared at /etc/portmap.conf:1 already")
      )
      try portmap("unmap", "--all")
    }
  }

  @Test func anOrdinaryUserHasOneToo() throws {
    try withTopology { topology in
      var portmap = topology.portmap
      portmap.binary = try topology.readableBinary()
      portmap.prefix = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
      let home = topology.folder + "/home"
      try run([
        "sh", "-c",
        "mkdir -p \(home)/.config \(topology.folder)/own; chown -R 1000 \(home) \(topology.folder)/own",
      ])
      portmap.state = topology.folder + "/own/state"
      portmap.environment = ["HOME": home, "XDG_CONFIG_HOME": ""]
      try write(
        "map 8080:80 --to \(Address.web) --proxy-only\nalloc 9000\nmap 8081:80 --to \(Address.web)\nalloc 80",
        to: "\(home)/.config/portmap.conf"
      )
      let made = try portmap("apply", status: 4)
      #expect(made.lines == ["mapped 8080->10.99.0.2:80", "reserved 9000"])
      #expect(made.stderr.contains("\(home)/.config/portmap.conf:3: mapping with rules needs CAP_NET_ADMIN"))
      #expect(try portmap.list().mappings.map(\.origin) == ["\(home)/.config/portmap.conf"])
      try write("map 8080:80 --to \(Address.other) --proxy-only", to: "\(home)/.config/portmap.conf")
      let sockets = try topology.host.sockets(.tcp, 8080)
      #expect(try portmap("apply").lines == ["mapped 8080->10.99.0.3:80", "released 9000"])
      #expect(try topology.host.sockets(.tcp, 8080) == sockets)
    }
  }

  // MARK: a thousand, and faults

  @Test func aThousandAreOneTransaction() throws {
    try withTopology { topology in
      let calls = topology.folder + "/calls"
      let counting = "case $* in *--noflush*) echo >> \(calls);; esac; exec \"$real\" \"$@\""
      let portmap = try topology.portmap(with: ["iptables-restore": counting, "ip6tables-restore": counting])
      let lines = (0..<1000).map { "map \(20000 + $0):80 --to 10.99.0.\(2 + $0 % 200)" }
      let file = try topology.declare(lines.joined(separator: "\n"))
      #expect(try portmap("apply", file).lines.count == 1000)
      #expect(try String(contentsOfFile: calls, encoding: .utf8).count == 2)
      #expect(try topology.host.processes().count == 1)
      try run(["rm", calls])
      #expect(try portmap("apply", "--json", file).stdout == unchanged(1000))
      #expect(!FileManager.default.fileExists(atPath: calls))
      try topology.declare(lines.map { $0.replacing(":80 ", with: ":81 ") }.joined(separator: "\n"))
      #expect(try portmap("apply", file).lines.count == 1000)
      #expect(try String(contentsOfFile: calls, encoding: .utf8).count == 4)
      #expect(try topology.host.processes().count == 1)
      try portmap("check")
    }
  }
}

extension Topology {
  /// Writes the file that is applied, and returns its path.
  @discardableResult
  func declare(_ text: String, as name: String = "portmap.conf") throws -> String {
    let path = folder + "/" + name
    try write(text, to: path)
    return path
  }
}

extension Namespace {
  /// The number of established TCP connections to a port of this namespace.
  fileprivate func connections(from port: Int) throws -> Int {
    try exec("ss", "-Htn", "state", "established", "sport = :\(port)").lines.count
  }
}

private func write(_ text: String, to path: String) throws {
  try Data(text.utf8).write(to: URL(fileURLWithPath: path))
  try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
}
