import Foundation
import Testing

/// `map --into` and `proxy --into`: a proxy that connects from inside another network namespace, as root.
@Suite struct IntoTests {
  typealias Address = Topology.Address

  /// A topology that leaves no process behind in a namespace without a name.
  private func withGuests(_ body: (Topology) throws -> Void) throws {
    try withTopology { topology in
      topology.cleanup.add { try topology.portmap("unmap", "--all", status: nil) }
      try body(topology)
    }
  }

  @Test func aServiceOnLoopbackInThere() throws {
    try withGuests { topology in
      let (host, outside, portmap) = (topology.host, topology.outside, topology.portmap)
      try topology.web.serveBoth("127.0.0.1", "80", name: "web")
      try topology.web.serveBoth("::1", "80", name: "web6")
      let clean = try host.snapshot()
      let name = topology.web.name
      var elsewhere = portmap
      elsewhere.environment = ["PORTMAP_TO": Address.other]
      #expect(
        try elsewhere("map", "--into", name, "8080:80/tcp+udp").lines
          == ["8080->127.0.0.1:80", "8080->127.0.0.1:80/udp"]
      )
      #expect(
        try portmap("map", "--into", name, "--to", "::1", "8081:80/tcp+udp").lines[0] == "8081->[::1]:80"
      )
      for transport in Transport.allCases {
        for address in [Address.host, Address.host6] {
          let answer = try outside.ask(transport, address, 8080)
          #expect(answer.name == "web" && answer.peer == "127.0.0.1", "\(answer)")
          #expect(try outside.ask(transport, address, 8081).name == "web6")
        }
        #expect(try host.ask(transport, "127.0.0.1", 8080).name == "web")
        #expect(try host.ask(transport, "::1", 8081).peer == "::1")
      }
      // No rules, and no process that is anywhere but in there.
      let rules = try host.snapshot()
      #expect(rules.rules == clean.rules && rules.links == clean.links)
      #expect(try host.processes().isEmpty)
      let table = try portmap("list").lines
      #expect(table[1].contains(" proxy into \(name) "), "\(table)")
      let mappings = try portmap.list().mappings
      #expect(mappings.allSatisfy { $0.into == name && !$0.nat && $0.proxy }, "\(mappings)")
      try portmap("check")
      try portmap("unmap", "8080/udp", "8080->127.0.0.1:80")
      #expect(try outside.ask(.tcp, Address.host, 8080).verdict == .refused)
      #expect(try outside.ask(.tcp, Address.host, 8081).name == "web6")
      try portmap("unmap", "--all")
      try host.expectUnchanged(clean)
    }
  }

  @Test func aProcessAndAPath() throws {
    try withGuests { topology in
      let portmap = topology.portmap
      let server = try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      let names = ["\(server.pid)", "/proc/\(server.pid)/ns/net", "/run/netns/\(topology.web.name)"]
      for (port, name) in zip(8080..., names) {
        let made = try portmap.map("--into", name, "\(port):80")
        #expect(made.map(\.into) == [name])
        #expect(try topology.host.ask(.tcp, "127.0.0.1", port).name == "web")
      }
      // One beside the others is not of them.
      let plain = try portmap.map("--proxy-only", "--to", Address.web, "8090:80")
      #expect(plain.map(\.into) == [""])
      try portmap("check")
    }
  }

  @Test func itsAddressesAreNotTheHosts() throws {
    try withGuests { topology in
      let portmap = topology.portmap
      // The same port of the same address is another one in there, and so is an address that the host has too.
      try topology.web.serve(.tcp, "127.0.0.1", "8080", name: "web")
      try topology.web.ip("addr", "add", "\(Address.host)/32", "dev", "lo")
      try topology.web.serve(.tcp, Address.host, "8081", name: "twin")
      try portmap("map", "--into", topology.web.name, "127.0.0.1:8080:8080", "[::1]::8080")
      try portmap("map", "--into", topology.web.name, "--to", Address.host, "8081:8081")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).isUnanswered)
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).name == "twin")
    }
  }

  @Test func namespacesThatAreNotThere() throws {
    try withGuests { topology in
      let portmap = topology.portmap
      let ended = try topology.host.start(["true"])
      #expect(ended.wait().status == 0)
      let cases = [
        ("nowhere", "there is no network namespace nowhere"),
        ("no way", "there is no network namespace no way"),
        ("/nowhere/net", "there is no file /nowhere/net"),
        ("\(ended.pid)", "there is no process \(ended.pid)"),
        ("99999999999", "there is no process 99999999999"), ("0", "there is no process 0"),
        ("/etc/hostname", "/etc/hostname is no network namespace"),
        ("/dev/null", "/dev/null is no network namespace"),
        ("/proc/self/ns/mnt", "/proc/self/ns/mnt is no network namespace"),
        (topology.host.name, "\(topology.host.name) is the network namespace that portmap itself is in"),
      ]
      for (name, words) in cases {
        for command in [["map", "8080:80"], ["map", "-n", "8080:80"], ["proxy", "8080", "127.0.0.1:80"]] {
          let outcome = try portmap.run(command + ["--into", name], status: 1)
          #expect(outcome.stderr.contains(words) && outcome.stdout.isEmpty, "\(outcome)")
        }
      }
      let beside = try portmap("map", "--into", "nowhere", "8080:80", "--", "true", status: 125)
      #expect(beside.stderr.contains("there is no network namespace nowhere"))
      #expect(try portmap.list().isEmpty)
      #expect(try topology.host.sockets(.tcp, 8080).isEmpty)
    }
  }

  @Test func aTakenOverReservationAndACommand() throws {
    try withGuests { topology in
      let (portmap, name) = (topology.portmap, topology.web.name)
      try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try portmap("alloc", "8080")
      let sockets = try topology.host.sockets(.tcp, 8080)
      try portmap("map", "--into", name, "8080:80")
      #expect(try topology.host.sockets(.tcp, 8080) == sockets)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      try portmap("unmap", "8080")
      let ask = "exec \"$0\" ask tcp 127.0.0.1 8081 --timeout 2"
      let command = try portmap("map", "--into", name, "8081:80", "--", "sh", "-c", ask, Tools.probe)
      #expect(command.stdout.hasPrefix("web "), "\(command)")
      #expect(try portmap.list().isEmpty)
      let preview = try portmap("map", "-n", "--into", name, "8080:80").lines
      #expect(preview.contains("# enter the network namespace \(name)"), "\(preview)")
    }
  }

  /// The header says who the client is, whom the backend cannot see.
  @Test func proxyProtocol() throws {
    try withGuests { topology in
      try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try topology.portmap("map", "--into", topology.web.name, "--proxy-protocol", "v1", "8080:80")
      let answer = try topology.outside.ask(.tcp, Address.host, 8080)
      #expect(answer.text.contains("PROXY TCP4 \(Address.outside)"), "\(answer)")
    }
  }

  // MARK: a guest that is started again

  private func restart(_ namespace: Namespace) throws {
    try run(["ip", "netns", "del", namespace.name])
    try run(["ip", "netns", "add", namespace.name])
    try namespace.ip("link", "set", "lo", "up")
  }

  @Test(arguments: Transport.allCases)
  func anotherNamespaceOfTheName(_ transport: Transport) throws {
    try withGuests { topology in
      let (portmap, web) = (topology.portmap, topology.web)
      try web.serve(transport, "127.0.0.1", "80", name: "former")
      try portmap("map", "--into", web.name, "8080:80\(transport.suffix)", "8081:80\(transport.suffix)")
      let sockets = try topology.host.sockets(transport, 8080)
      try restart(web)
      try web.serve(transport, "127.0.0.1", "80", name: "web")
      // The former one is kept, and served until it is let go.
      #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "former")
      let found = try portmap("check", status: 1)
      #expect(
        found.stdout.contains("\(web.name) is another network namespace now than the one that it leads into"),
        "\(found)"
      )
      #expect(found.stdout.contains("8080\(transport.suffix)") && found.stdout.contains("8081"), "\(found)")
      let done = try portmap("repair").stdout
      #expect(done.contains("led 8080\(transport.suffix) into \(web.name) anew"), "\(done)")
      #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
      #expect(try topology.host.ask(transport, "127.0.0.1", 8081).name == "web")
      #expect(try topology.host.sockets(transport, 8080) == sockets)
      try portmap("check")
      #expect(try Set(portmap.list().mappings.map(\.pid)).count == 1)
      // Without the namespace the mapping goes on, but it is told.
      try run(["ip", "netns", "del", web.name])
      #expect(try topology.host.ask(transport, "127.0.0.1", 8080).name == "web")
      let gone = try portmap("check", status: 1)
      #expect(gone.stdout.contains("there is no network namespace \(web.name)"), "\(gone)")
      #expect(try portmap("repair", status: 1).stderr.contains("there is no network namespace \(web.name)"))
    }
  }

  @Test func aProcessThatIsGone() throws {
    try withGuests { topology in
      let portmap = topology.portmap
      let server = try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try portmap("map", "--into", "\(server.pid)", "8080:80")
      server.kill()
      let gone = try portmap("check", status: 1)
      #expect(gone.stdout.contains("there is no process \(server.pid), into which it leads"), "\(gone)")
      #expect(gone.stderr.hasSuffix("\nhint: unmap it, and map it into the process that runs now\n"))
      try portmap("unmap", "8080")
      try portmap("check")
    }
  }

  /// The number is given to another process, in another namespace.
  @Test func aProcessThatIsAnother() throws {
    try withGuests { topology in
      // Numbers are given out again in a process namespace of one's own.
      let script = """
        set -eu
        export PORTMAP_STATE_DIR=$3/state
        start() {
          echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
          ip netns exec "$2" sleep 300 &
          [ $! = "$1" ]
        }
        start 200 "$1"
        until [ "$(readlink /proc/200/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do :; done
        "$0" map --into 200 8080:80 >/dev/null
        kill 200
        wait 200 || true
        start 200 "$2"
        until [ "$(readlink /proc/200/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do :; done
        "$0" check || true
        "$0" repair
        "$0" check
        "$0" unmap 8080
        """
      let outcome = try topology.host.exec(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script, Tools.portmap]
          + [topology.web.name, topology.other.name, topology.folder]
      )
      #expect(
        outcome.lines == [
          "8080: 200 is another network namespace now than the one that it leads into",
          "led 8080 into 200 anew",
        ],
        "\(outcome)"
      )
    }
  }

  @Test func aDeadProcessEntersAgain() throws {
    try withGuests { topology in
      let (portmap, web) = (topology.portmap, topology.web)
      try web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try topology.other.serve(.tcp, "127.0.0.1", "80", name: "other")
      try portmap("map", "--into", web.name, "8080:80")
      try portmap("map", "--into", topology.other.name, "8081:80")
      try portmap("map", "--proxy-only", "--to", Address.web, "8082:80")
      for pid in try portmap.list().mappings.compactMap(\.pid) { kill(pid, SIGKILL) }
      try eventually("they live on") { try portmap("check", status: nil).stdout.contains("is dead") }
      try portmap("repair")
      try portmap("check")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8081).name == "other")
      #expect(try Set(portmap.list().mappings.map(\.pid)).count == 3)
    }
  }

  /// What has become of a guest stands in nobody else's way.
  @Test func aGuestThatIsGoneAmongOthers() throws {
    try withGuests { topology in
      let (portmap, web) = (topology.portmap, topology.web)
      try web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try portmap("map", "--into", topology.other.name, "8081:80")
      try portmap("map", "--into", web.name, "8080:80")
      for pid in try portmap.list().mappings.compactMap(\.pid) { kill(pid, SIGKILL) }
      try run(["ip", "netns", "del", topology.other.name])
      let outcome = try portmap("repair", status: 1)
      #expect(outcome.stderr.contains("there is no network namespace \(topology.other.name)"), "\(outcome)")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
    }
  }

  @Test func aDamagedState() throws {
    try withGuests { topology in
      let portmap = topology.portmap
      try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try portmap("map", "--into", topology.web.name, "8080:80")
      let before = try portmap.list().mappings
      try writeFile("{", to: portmap.state + "/state.json")
      try portmap("repair")
      #expect(try portmap.list().mappings == before)
      try portmap("check")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
    }
  }

  /// The folder is in use as long as the namespace is that the sockets are of, wherever their process is.
  @Test func aFolderThatAnotherNamespaceUses() throws {
    try withGuests { topology in
      var stranger = topology.portmap
      try topology.portmap("map", "--into", topology.web.name, "8080:80")
      // Nothing but the background process is in the guest.
      #expect(try topology.web.processes().count == 1)
      stranger = Portmap(topology.outside, state: topology.portmap.state, topology.cleanup)
      for command in [["list"], ["alloc", "8081"], ["repair"]] {
        let outcome = try stranger.run(command, status: 1)
        #expect(outcome.stderr.contains("another network namespace uses this folder"), "\(outcome)")
      }
      #expect(try topology.portmap.list().mappings.count == 1)
    }
  }

  @Test func aFolderOfANamespaceThatIsGone() throws {
    try withGuests { topology in
      let cleanup = topology.cleanup
      let former = try Namespace("f", cleanup)
      let portmap = Portmap(former, state: topology.folder + "/shared", cleanup)
      try topology.web.serve(.tcp, "127.0.0.1", "80", name: "web")
      let pid = try #require(try portmap.map("--into", topology.web.name, "8080:80").first?.pid)
      cleanup.add { kill(pid, SIGKILL) }
      try run(["ip", "netns", "del", former.name])
      let heir = Portmap(topology.outside, state: portmap.state, cleanup)
      #expect(try heir("alloc", "8081").stdout == "8081\n")
      try heir("unmap", "--all")
      try run(["ip", "netns", "add", former.name])
    }
  }

  // MARK: applied files

  @Test func declarations() throws {
    try withGuests { topology in
      let (portmap, web, other) = (topology.portmap, topology.web, topology.other)
      try web.serve(.tcp, "127.0.0.1", "80", name: "web")
      try other.serve(.tcp, "127.0.0.1", "80", name: "other")
      let text = """
        map --into \(web.name) 8080:80
        map --into \(other.name) 8081:80
        map --into nowhere 8082:80
        """
      let file = topology.folder + "/portmap.conf"
      try writeFile(text, to: file)
      let first = try portmap("apply", file, status: 1)
      #expect(first.lines == ["mapped 8080->127.0.0.1:80", "mapped 8081->127.0.0.1:80"])
      #expect(first.stderr.contains("\(file):3: cannot map"), "\(first)")
      #expect(first.stderr.contains("there is no network namespace nowhere"), "\(first)")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8081).name == "other")
      // Into another one: the socket stays.
      try writeFile("map --into \(other.name) 8080:80\nmap --into \(other.name) 8081:80", to: file)
      let sockets = try topology.host.sockets(.tcp, 8080)
      #expect(try portmap("apply", file).lines == ["mapped 8080->127.0.0.1:80"])
      #expect(try topology.host.sockets(.tcp, 8080) == sockets)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "other")
      // The guest is started again.
      try restart(other)
      try other.serve(.tcp, "127.0.0.1", "80", name: "again")
      let again = try portmap("apply", file)
      #expect(again.lines.isEmpty && again.stderr.contains("led 8080 into \(other.name) anew"), "\(again)")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8081).name == "again")
      #expect(try topology.host.sockets(.tcp, 8080) == sockets)
      try portmap("check")
      try run(["ip", "netns", "del", other.name])
      let gone = try portmap("apply", file, status: 1)
      #expect(gone.stderr.contains("\(file):1: ") && gone.stderr.contains(other.name), "\(gone)")
      try writeFile("", to: file)
      try portmap("apply", file)
      #expect(try portmap.list().isEmpty)
    }
  }

  // MARK: alloc --netns

  @Test func anAddressOfANamespaceThatIsAnother() throws {
    try withGuests { topology in
      let (portmap, host) = (topology.portmap, topology.host)
      let guest = try Namespace("x", topology.cleanup)
      let address = try #require(try portmap("alloc", "--netns", guest.name).lines.first)
      try guest.serveBoth("0.0.0.0", "80", name: "former")
      try portmap("map", "--to", guest.name, "8080:80")
      try portmap("map", "--into", guest.name, "8081:80")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "former")
      try portmap("check")
      let link = try #require(
        try host.ip("-br", "link", "show", "type", "veth").lines.first { $0.hasPrefix("pm-") }
      )
      .prefix { $0 != "@" }
      try restart(guest)
      // The servers and the proxy keep the former one.
      let found = try portmap("check", status: 1).stdout
      #expect(
        found.contains("another network namespace now than the one that its link \(link) leads into"),
        "\(found)"
      )
      try portmap("repair")
      try portmap("check")
      try guest.serveBoth("0.0.0.0", "80", name: "web")
      #expect(try guest.ip("-4", "-br", "addr", "show", "dev", "eth0").stdout.contains("\(address)/"))
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).name == "web")
      #expect(try host.ip("-br", "link", "show", "type", "veth").lines.count { $0.hasPrefix("pm-") } == 1)
    }
  }

  // MARK: proxy

  @Test func inTheForeground() throws {
    try withGuests { topology in
      try topology.web.serveBoth("127.0.0.1", "80", name: "web")
      try topology.web.serve(.tcp, "::1", "81", name: "web6")
      let proxy = try topology.portmap.start([
        "proxy", "--into", topology.web.name, "8080", "127.0.0.1:80", "8081/udp", "127.0.0.1:80", "8082",
        "[::1]:81",
      ])
      #expect(proxy.line() == "8080->127.0.0.1:80")
      #expect(proxy.line() == "8081->127.0.0.1:80/udp")
      #expect(proxy.line() == "8082->[::1]:81")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == "127.0.0.1")
      #expect(try topology.outside.ask(.udp, Address.host6, 8081).name == "web")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8082).name == "web6")
      proxy.signal(SIGTERM)
      #expect(proxy.wait().status == 0)
      #expect(!FileManager.default.fileExists(atPath: topology.portmap.state))
    }
  }

  @Test func socketsThatArePassedOn() throws {
    try withGuests { topology in
      try topology.web.serveBoth("127.0.0.1", "80", name: "web")
      let proxy = try topology.portmap.start([
        "alloc", "8080", "8081/udp", "--", Tools.portmap, "proxy", "--json", "--into", topology.web.name,
        "127.0.0.1:80", "127.0.0.1:80",
      ])
      let line = try #require(proxy.line())
      let into = "\"into\":\"\(topology.web.name)\""
      #expect(line.split(separator: into, omittingEmptySubsequences: false).count == 3, "\(line)")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      #expect(try topology.outside.ask(.udp, Address.host, 8081).name == "web")
      proxy.signal(SIGTERM)
      #expect(proxy.wait().status == 0)
    }
  }
}

private func writeFile(_ text: String, to path: String) throws {
  try Data(text.utf8).write(to: URL(fileURLWithPath: path))
}
