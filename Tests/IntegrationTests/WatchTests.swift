import Foundation
import Testing

/// `apply --watch`: what is declared, and what anybody has made, stays.
@Suite struct WatchTests {
  typealias Address = Topology.Address

  private static let line = "map 8080:80 --to 10.99.0.2"

  /// The mapping's rules lead to the guest again, within a time.
  private func expectRules(
    _ topology: Topology,
    within seconds: Double = 2,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    try eventually("the rules are not back", within: seconds, at: location) {
      try topology.outside.ask(.tcp, Address.host, 8080, timeout: 0.3).peer == Address.outside
    }
  }

  // MARK: rules

  @Test(arguments: [
    "nft flush ruleset", "iptables -t nat -F; iptables -F; iptables -t nat -X; iptables -X",
    "printf '*nat\\nCOMMIT\\n*filter\\nCOMMIT\\n*raw\\nCOMMIT\\n' | iptables-restore",
    "iptables -t nat -D PREROUTING 1", "nft add table ip mine; nft flush ruleset; nft add table ip mine",
  ])
  func rulesThatSomebodyTakesAwayAreBack(_ flush: String) throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let watch = try topology.watch(Self.line)
      try expectRules(topology)
      let rules = try topology.host.rules()
      for _ in 0..<3 {
        try topology.host.exec("sh", "-c", flush)
        try expectRules(topology)
        #expect(try topology.host.rules() == rules)
      }
      try topology.portmap("check")
      let outcome = try watch.end()
      #expect(outcome.lines == ["mapped 8080->10.99.0.2:80"])
      #expect(outcome.stderr.split(separator: "\n").count { $0.contains("put back") } == 3, "\(outcome)")
      #expect(try topology.host.rules() == rules, "everything stays in place")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      try topology.portmap("check")
    }
  }

  /// Somebody who never stops changing rules of his own.
  @Test func aHostThatIsNeverQuiet() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let watch = try topology.watch(Self.line)
      let noise = try topology.host.start([
        "sh", "-c",
        "nft add table ip noise; while :; do nft add chain ip noise c; nft delete chain ip noise c; done",
      ])
      try topology.host.exec("iptables", "-t", "nat", "-F", "PREROUTING")
      try expectRules(topology, within: 4)
      noise.kill()
      try watch.end()
      try topology.portmap("check")
    }
  }

  /// iptables-legacy tells nobody.
  @Test func rulesOfTheLegacyVariant() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let watch = try topology.watch(Self.line, portmap: topology.legacyPortmap())
      try expectRules(topology)
      try topology.host.exec("iptables-legacy", "-t", "nat", "-F")
      try expectRules(topology, within: 10)
      try watch.end()
    }
  }

  @Test func whatOthersMadeIsKeptToo() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      // Neither a file nor anything in the default places.
      let watch = try Watch(topology.portmap, [topology.declare("")], folder: topology.folder)
      try topology.portmap("map", "8080:80", "--to", Address.web)
      try eventually("the watcher has not noticed") {
        try topology.host.exec("iptables", "-t", "nat", "-F", "PREROUTING")
        usleep(300_000)
        return try topology.outside.ask(.tcp, Address.host, 8080, timeout: 0.3).peer == Address.outside
      }
      let pid = try #require(try topology.portmap.list().mappings.first?.pid)
      kill(pid, SIGKILL)
      try eventually("the process is not back") {
        let now = try topology.portmap.list().mappings.first?.pid
        return try now != pid && topology.host.ask(.tcp, "127.0.0.1", 8080, timeout: 0.3).name == "web"
      }
      // What is unmapped stays away.
      try topology.portmap("unmap", "8080")
      try topology.host.exec("nft", "flush", "ruleset")
      usleep(500_000)
      #expect(try topology.portmap.list().isEmpty)
      #expect(try topology.host.translations().isEmpty)
      try watch.end()
    }
  }

  // MARK: processes

  @Test func aDeadProcessIsStartedAgainEverSlower() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let watch = try topology.watch(Self.line)
      var times: [Double] = []
      var pid: pid_t = 0
      for _ in 0..<4 {
        try eventually("no other process") { try topology.portmap.list().mappings.first?.pid != pid }
        pid = try #require(try topology.portmap.list().mappings.first?.pid)
        let start = Date()
        kill(pid, SIGKILL)
        try eventually("the process is not dead") {
          try topology.host.sockets(.tcp, 8080).isEmpty || kill(pid, 0) != 0
        }
        try eventually("the process is not back", within: 15) {
          try topology.host.sockets(.tcp, 8080).count == 1
        }
        times.append(Date().timeIntervalSince(start))
      }
      #expect(times[0] < 2, "\(times)")
      #expect(times[2] > 1.9 && times[3] > 3.9, "\(times)")
      try topology.portmap("check")
      let outcome = try watch.end()
      #expect(outcome.stderr.contains("held 8080 again"), "\(outcome)")
    }
  }

  /// It is said once, and the port is had again when the stranger lets go of it.
  @Test func aPortThatAStrangerHasTaken() throws {
    try withTopology { topology in
      let watch = try topology.watch("alloc 8080\nalloc 9000")
      for pid in Set(try topology.portmap.list().reservations.map(\.pid)) {
        kill(pid, SIGSTOP)
        let stranger = try topology.host.start([
          "sh", "-c", "kill -KILL \(pid); while ! \"$@\"; do :; done", "sh", Tools.probe, "serve", "tcp",
          "0.0.0.0",
          "8080", "--name", "stranger",
        ])
        #expect(stranger.line() == "ready")
        #expect(watch.process.complains(of: "cannot hold 8080 again: "))
        try eventually("9000 is not held again") { try topology.host.sockets(.tcp, 9000).count == 1 }
        for _ in 0..<3 {
          try topology.host.ip("link", "add", "extra0", "type", "bridge")
          usleep(200_000)
          try topology.host.ip("link", "del", "extra0")
          usleep(200_000)
        }
        try topology.portmap("check", status: 1)
        stranger.kill()
      }
      try eventually("the port is not held again", within: 40) {
        try topology.portmap("check", status: nil).status == 0
      }
      let outcome = try watch.end()
      #expect(
        outcome.stderr.split(separator: "\n").count { $0.contains("cannot hold 8080 again") } == 1,
        "\(outcome)"
      )
    }
  }

  // MARK: declarations

  @Test func whatCouldNotBeMadeIsTriedAgain() throws {
    try withTopology { topology in
      let name = "late\(getpid())"
      let stranger = try topology.host.serve(.tcp, "0.0.0.0", "8081", name: "stranger")
      let watch = try topology.watch(
        "alloc --netns \(name)\nmap 8080:80 --to \(name)\nalloc 8081\nalloc 192.0.2.77:8082\nalloc 9000"
      )
      // Ready, whether all lines could be made or not.
      #expect(try topology.portmap.list().reservations.map(\.port) == [9000])
      for number in [1, 2, 3, 4] { #expect(watch.process.complains(of: "portmap.conf:\(number): ")) }
      // What is unmapped meanwhile stays away.
      try topology.portmap("unmap", "9000")
      try topology.host.ip("addr", "add", "192.0.2.77/32", "dev", "eth0")
      try eventually("the address's port is not there", within: 5) {
        try topology.portmap.list().reservations.map(\.port) == [8082]
      }
      topology.cleanup.add { try run(["ip", "netns", "del", name]) }
      try run(["ip", "netns", "add", name])
      try eventually("the namespace is not plugged in", within: 5) {
        try topology.portmap.list().mappings.map(\.hostPort) == [8080]
      }
      stranger.kill()
      try eventually("the port is not there", within: 40) {
        try topology.portmap.list().reservations.map(\.port).sorted() == [8081, 8082]
      }
      try topology.portmap("check")
      let outcome = try watch.end()
      for line in ["mapped 8080->", "reserved 8081", "reserved 192.0.2.77:8082", "reserved 9000"] {
        #expect(outcome.lines.count { $0.hasPrefix(line) } == 1, "\(outcome)")
      }
      let errors = outcome.stderr.split(separator: "\n")
      for number in [1, 2, 3, 4] {
        #expect(errors.count { $0.contains("portmap.conf:\(number): ") } == 1, "said once: \(outcome)")
      }
    }
  }

  @Test func theFilesAreReadAgain() throws {
    try withTopology { topology in
      let watch = try topology.watch("alloc 9000\nalloc 9001")
      let file = try topology.declare("alloc 9001\nalloc 9002")
      usleep(300_000)
      #expect(try topology.portmap.list().reservations.map(\.port).sorted() == [9000, 9001])
      try watch.reload()
      #expect(try topology.portmap.list().reservations.map(\.port).sorted() == [9001, 9002])
      // A mistake leaves the old declarations.
      for broken in ["alloc 9003\nfrob", "map 80/"] {
        try topology.declare(broken)
        try watch.reload()
        #expect(try topology.portmap.list().reservations.map(\.port).sorted() == [9001, 9002])
      }
      try run(["rm", file])
      try watch.reload()
      #expect(try topology.portmap.list().reservations.map(\.port).sorted() == [9001, 9002])
      // They still count when everything has to be made again.
      try run(["rm", "-r", topology.portmap.state])
      try eventually("it is not made again") {
        try topology.portmap.list().reservations.map(\.port).sorted() == [9001, 9002]
      }
      try topology.declare("alloc 9004")
      // A storm of signals.
      for _ in 0..<200 { watch.process.signal(SIGHUP) }
      try eventually("the storm is too much for it") {
        try topology.portmap.list().reservations.map(\.port) == [9004]
      }
      watch.process.signal(SIGTERM)
      let outcome = watch.process.wait()
      #expect(outcome.status == 0)
      for words in [
        "portmap.conf:2: expected map or alloc, not 'frob'", "invalid spec '80/'", "no such file",
      ] {
        #expect(outcome.stderr.contains(words), "\(words): \(outcome)")
      }
    }
  }

  @Test func aMistakeAtTheStartEndsIt() throws {
    try withTopology { topology in
      let file = try topology.declare("alloc 9000\nfrob\nalloc 9001/tls")
      let outcome = try topology.portmap("apply", "--watch", file, status: 2)
      #expect(outcome.stderr.contains("\(file):2: ") && outcome.stderr.contains("\(file):3: "), "\(outcome)")
      #expect(try topology.portmap.list().isEmpty)
      let missing = try topology.portmap("apply", "--watch", file + "-missing", status: 1)
      #expect(missing.stderr.contains("no such file"), "\(missing)")
      for options in [["-n", file], ["--json", file], ["-"], ["-", "--origin", "ci"]] {
        let outcome = try topology.portmap.run(["apply", "--watch"] + options, status: 2)
        #expect(outcome.stderr.contains("--watch"), "\(outcome)")
      }
    }
  }

  // MARK: what it survives

  @Test func theStateFolderIsRemoved() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let guest = try Namespace("n", topology.cleanup)
      let watch = try topology.watch("\(Self.line)\nalloc --netns \(guest.name)\nalloc 9000")
      try topology.portmap("map", "8085:80", "--to", Address.web)
      let rules = { try topology.host.rules().map { $0.replacing(#/:[a-f][0-9a-f]{7}/#, with: "") }.sorted() }
      let (before, processes) = (try rules(), try topology.host.processes().count)
      usleep(300_000)
      try run(["rm", "-r", topology.portmap.state])
      try eventually("it is not made again", within: 10) {
        try topology.portmap("check", status: nil).status == 0 && topology.portmap.list().mappings.count == 1
      }
      try expectRules(topology)
      #expect(try topology.host.sockets(.tcp, 8085).isEmpty, "nobody can talk to its process any more")
      // One of the two processes was of what nobody has declared.
      try eventually("processes of nobody's") { try topology.host.processes().count == processes - 1 }
      #expect(try rules() == before.filter { !$0.contains("8085") })
      try watch.end()
    }
  }

  @Test func theStateFolderIsRemovedWhileItIsLookedAt() throws {
    try withTopology { topology in
      let watch = try topology.watch(Self.line)
      let folder = topology.portmap.state
      // A pass that is still to come would be counted as one of those that stay.
      usleep(500_000)
      let processes = try topology.host.processes().count
      let locker = try ChildProcess([
        "flock", "-F", folder + "/lock", "sh", "-c", "echo locked; exec sleep 60",
      ])
      #expect(locker.line() == "locked")
      try topology.host.exec("nft", "flush", "ruleset")
      try eventually("no pass begins") { try topology.host.processes().count > processes }
      // The pass has opened its lock or is about to.
      try run(["mv", folder, folder + "-gone"])
      try run(["rm", "-r", folder + "-gone"])
      locker.kill()
      try eventually("it is not made again") {
        try topology.portmap.list().mappings.map(\.hostPort) == [8080]
      }
      try topology.portmap("check")
      try eventually("processes of nobody's") { try topology.host.processes().count == processes }
      try watch.end()
    }
  }

  @Test func iptablesIsMissingForAWhile() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let names = ["iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save", "ip"]
      let portmap = try topology.portmap(withOnly: names)
      let folder = portmap.prefix[1].dropFirst("PATH=".count)
      let watch = try topology.watch(Self.line, portmap: portmap)
      try run(["mv", "\(folder)/iptables-restore", "\(folder)/away"])
      try topology.host.exec("nft", "flush", "ruleset")
      #expect(watch.process.complains(of: "command not found: iptables-restore"))
      try topology.host.exec("nft", "add", "table", "ip", "mine")
      usleep(500_000)
      try run(["mv", "\(folder)/away", "\(folder)/iptables-restore"])
      try expectRules(topology, within: 5)
      let outcome = try watch.end()
      #expect(outcome.stderr.split(separator: "\n").count { $0.contains("not found") } == 1, "\(outcome)")
    }
  }

  @Test func theVariantIsSwitched() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let names = [
        "iptables-nft-restore", "iptables-nft-save", "iptables-legacy-restore", "iptables-legacy-save",
      ]
      let portmap = try topology.portmap(withOnly: ["ip"] + names + names.map { "ip6" + $0.dropFirst(2) })
      let folder = String(portmap.prefix[1].dropFirst("PATH=".count))
      func use(_ variant: String) throws {
        for family in ["iptables", "ip6tables"] {
          for verb in ["restore", "save"] {
            let link = "\(folder)/\(family)-\(verb)"
            try run(["ln", "-sfn", "\(family)-\(variant)-\(verb)", link])
          }
        }
      }
      try use("nft")
      let watch = try topology.watch(Self.line, portmap: portmap)
      try use("legacy")
      #expect(watch.process.complains(of: "moved the rules from iptables (nf_tables) to iptables (legacy)"))
      try expectRules(topology, within: 5)
      #expect(try topology.host.translations().isEmpty)
      try use("nft")
      #expect(watch.process.complains(of: "moved the rules from iptables (legacy) to iptables (nf_tables)"))
      try expectRules(topology, within: 5)
      #expect(try topology.host.exec("iptables-legacy-save").lines.allSatisfy { !$0.contains("PORTMAP") })
      try topology.host.exec("iptables", "-t", "nat", "-F", "PREROUTING")
      try expectRules(topology)
      try watch.end()
    }
  }

  // MARK: rest

  /// Neither its own changes nor those of other commands send it round in circles.
  @Test func nothingIsRunWhileNothingChanges() throws {
    try withTopology { topology in
      let calls = topology.folder + "/calls"
      let count = { try String(contentsOfFile: calls, encoding: .utf8).count }
      let note = "printf x >> \(calls); exec \"$real\" \"$@\""
      var portmap = try topology.portmap(with: ["iptables-save": note, "iptables-restore": note, "ip": note])
      // Names under /run/netns come and go with other tests.
      let run = topology.folder + "/run"
      try FileManager.default.createDirectory(atPath: run, withIntermediateDirectories: false)
      portmap.prefix =
        ["unshare", "--mount", "sh", "-c", "mount --bind \"$0\" /run && exec \"$@\"", run] + portmap.prefix
      let watch = try topology.watch("\(Self.line)\nalloc --ip --name db\nalloc 9000", portmap: portmap)
      func settles() throws {
        var before = (-1, -1)
        try eventually("it does not come to rest") {
          usleep(1_200_000)
          let now = (try count(), try watch.waits())
          defer { before = now }
          return now == before
        }
      }
      try settles()
      for command in [["map", "8081:80", "--to", Address.web], ["unmap", "8081"], ["list"]] {
        try portmap.run(command)
        try settles()
      }
      try topology.host.exec("nft", "flush", "ruleset")
      try expectRulesAreThere(topology)
      try settles()
      try topology.host.ip("link", "set", "portmap0", "down")
      try eventually("the bridge is not up") {
        try topology.host.ip("link", "show", "portmap0", "up").stdout.contains("portmap0")
      }
      try settles()
      let waits = try watch.waits()
      try watch.end()
      #expect(waits < 400, "\(waits)")
      var repair = topology.portmap
      repair.prefix = Array(portmap.prefix.prefix(6))
      try repair("check")
    }
  }

  private func expectRulesAreThere(_ topology: Topology) throws {
    try eventually("the rules are not back") { try !topology.host.translations().isEmpty }
  }

  @Test func abstractSocketsOfAManager() throws {
    try withHost { portmap, host in
      let folder = portmap.state.replacing("/state", with: "")
      let watch = try Watch(
        portmap,
        [],
        folder: folder,
        socket: "@portmap-\(UUID().uuidString)",
        isReady: false
      )
      // Without a file it only keeps; this machine may have one.
      if !FileManager.default.fileExists(atPath: "/etc/portmap.conf") { try watch.expect("READY=1") }
      try watch.end(SIGINT)
    }
  }

  @Test func ordinaryUsersToo() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      let home = topology.folder + "/home"
      try FileManager.default.createDirectory(
        atPath: home + "/.config",
        withIntermediateDirectories: true,
        attributes: [.posixPermissions: 0o700, .ownerAccountID: 65000, .groupOwnerAccountID: 65000]
      )
      try run(["chown", "-R", "65000:65000", home])
      var portmap = topology.portmap
      portmap.state = ""
      portmap.environment = ["XDG_RUNTIME_DIR": home, "HOME": home]
      portmap.prefix = Tools.ordinaryUser
      portmap.binary = try topology.readableBinary()
      let watch = try Watch(portmap, [], folder: topology.folder)
      try topology.declare("map --proxy-only 8080:80 --to \(Address.web)", as: "home/.config/portmap.conf")
      try watch.reload()
      let pid = try #require(try portmap.list().mappings.first?.pid)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      kill(pid, SIGKILL)
      try eventually("the process is not back") {
        try topology.outside.ask(.tcp, Address.host, 8080, timeout: 0.3).name == "web"
      }
      let outcome = try watch.end()
      #expect(outcome.lines == ["mapped 8080->10.99.0.2:80"])
    }
  }
}
