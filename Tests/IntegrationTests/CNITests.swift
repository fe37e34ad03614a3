import Foundation
import Testing

/// The program as CNI's portmap plugin, behind results that the tests hand it.
@Suite struct CNITests {
  typealias Address = Topology.Address

  private func withRuntime(_ body: (Topology, inout CNIRuntime) throws -> Void) throws {
    try withTopology { topology in
      var runtime = try CNIRuntime(topology)
      try body(topology, &runtime)
    }
  }

  private func object(_ text: String) throws -> NSDictionary {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? NSDictionary)
  }

  private func failure(_ outcome: Outcome) throws -> CNIFailure { try outcome.json() }

  @Test func addMapsAndDelReleases() throws {
    try withRuntime { topology, runtime in
      let (host, outside, portmap) = (topology.host, topology.outside, topology.portmap)
      let before = try host.snapshot()
      try topology.web.serveBoth("0.0.0.0", "80", name: "web")
      let result = runtime.result(Address.web + "/24")
      let ports = [PortMapping(8080, 80), PortMapping(8081, 80, "UDP")]
      let outcome = try runtime.portmap("ADD", "c1", ports, behind: result)
      #expect(try object(outcome.stdout) == result as NSDictionary)
      #expect(!outcome.stderr.contains("--"), "\(outcome)")

      #expect(try outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try outside.ask(.udp, Address.host, 8081).peer == Address.outside)
      #expect(try outside.ask(.tcp, Address.host6, 8080).name == "web", "the other family")
      #expect(try host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try host.ask(.tcp, "::1", 8080).name == "web")
      #expect(try topology.other.ask(.tcp, Address.host, 8080).name == "web", "a neighbour")
      #expect(try host.sysctl("net.ipv4.conf.all.route_localnet") == "0")

      let mappings = try portmap.list().mappings
      #expect(mappings.map(\.origin) == ["cni:net/c1/eth0", "cni:net/c1/eth0"])
      #expect(Set(mappings.map(\.pid)).count == 1)
      try portmap("check")
      try runtime.portmap("CHECK", "c1", ports, behind: result)

      // Twice, and with nothing to go by.
      for _ in 0..<2 {
        let outcome = try runtime.portmap("DEL", "c1")
        #expect(outcome.stdout.isEmpty)
      }
      #expect(try portmap.list().isEmpty)
      try host.expectUnchanged(before)
    }
  }

  @Test(arguments: ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
  func everyVersion(_ version: String) throws {
    try withRuntime { topology, runtime in
      runtime.version = version
      let isOld = version < "0.3.0"
      let result: [String: Any] =
        isOld
        ? ["cniVersion": version, "ip4": ["ip": Address.web + "/24", "gateway": Address.bridge], "dns": [:]]
        : runtime.result(Address.web + "/24")
      let outcome = try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try object(outcome.stdout) == result as NSDictionary)
      #expect(try topology.portmap.list().mappings.map(\.backendIP) == [Address.web])
      try runtime.portmap("DEL", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try topology.portmap.list().isEmpty)
      struct Versions: Decodable {
        let cniVersion: String
        let supportedVersions: [String]
      }
      let versions: Versions = try runtime.raw("VERSION", #"{"cniVersion":"\#(version)"}"#).json()
      #expect(versions.cniVersion == version && versions.supportedVersions.contains(version))
      #expect(versions.supportedVersions.count == 7)
    }
  }

  @Test func bothFamilies() throws {
    try withRuntime { topology, runtime in
      try topology.web.serveBoth("::", "80", name: "web")
      let result = runtime.result(Address.web + "/24", Address.web6 + "/64")
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try topology.outside.ask(.tcp, Address.host6, 8080).peer == Address.outside6)
      #expect(try topology.host.ask(.tcp, "::1", 8080).name == "web")
      #expect(try topology.portmap.list().mappings.map(\.hostIP).sorted() == ["0.0.0.0", "::"])
      try topology.portmap("check")
    }
  }

  @Test func conflictsNameWhoHasIt() throws {
    try withRuntime { topology, runtime in
      let (host, portmap) = (topology.host, topology.portmap)
      let result = runtime.result(Address.other + "/24")
      try host.serve(.tcp, "0.0.0.0", "9090", name: "stranger")
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: runtime.result(Address.web + "/24"))
      try portmap("map", "8081:80", "--to", Address.web)
      let before = try host.snapshot()
      for (port, name) in [(8080, "container c1"), (8081, "8081->"), (9090, "probe (process")] {
        for isReserved in [true, false] where isReserved || port != 9090 {
          runtime.settings["reserve"] = isReserved
          let outcome = try runtime.portmap("ADD", "c2", [PortMapping(port, 80)], behind: result, status: 1)
          let failure = try failure(outcome)
          #expect(failure.code == 11 && failure.details.contains(name), "\(failure)")
          #expect(failure.msg.contains("\(port)") && !outcome.stdout.contains("--"))
        }
      }
      #expect(try host.snapshot() == before)
      runtime.settings = [:]
      try runtime.portmap("DEL", "c2")
      try runtime.portmap("DEL", "c1")
      try runtime.portmap("ADD", "c2", [PortMapping(8080, 80)], behind: result)
    }
  }

  @Test func addOnceMoreReplaces() throws {
    try withRuntime { topology, runtime in
      let (host, portmap) = (topology.host, topology.portmap)
      let before = try host.snapshot()
      let result = runtime.result(Address.web + "/24")
      let ports = [PortMapping(8080, 80), PortMapping(8081, 81)]
      try runtime.portmap("ADD", "c1", ports, behind: result)
      let sockets = try host.sockets(.tcp, 8080)
      let process = try host.processes()
      try topology.other.serve(.tcp, "0.0.0.0", "80", name: "other")
      // The address is another one now, one port stays, one goes.
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: runtime.result(Address.other + "/24"))
      #expect(try host.sockets(.tcp, 8080) == sockets, "the same socket all the time")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "other")
      #expect(try host.ask(.tcp, "127.0.0.1", 8080).name == "other")
      #expect(try portmap.list().mappings.count == 1)
      #expect(try host.processes().count == 1 && host.processes() != process)
      // Another host address, and no socket any more.
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80, on: "127.0.0.1")], behind: result)
      #expect(try portmap.list().mappings.map(\.hostIP) == ["127.0.0.1"])
      runtime.settings["reserve"] = false
      try runtime.portmap("ADD", "c1", ports, behind: result)
      #expect(try host.processes().isEmpty)
      runtime.settings["reserve"] = true
      try runtime.portmap("ADD", "c1", ports, behind: result)
      try portmap("check")
      // No ports at all.
      try runtime.portmap("ADD", "c1", [], behind: result)
      #expect(try portmap.list().isEmpty)
      try host.expectUnchanged(before)
    }
  }

  @Test func withoutReservationThereAreRulesAlone() throws {
    try withRuntime { topology, runtime in
      let (host, portmap) = (topology.host, topology.portmap)
      let before = try host.snapshot()
      try topology.web.serve(.tcp, "0.0.0.0", "80", name: "web")
      // As conmon does it, which keeps the port to itself and serves nobody.
      let stranger = try host.serve(.tcp, "0.0.0.0", "8080", name: "stranger")
      runtime.settings["reserve"] = false
      let result = runtime.result(Address.web + "/24")
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try host.processes() == [stranger.pid])
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      #expect(try portmap("list").stdout.contains("unreserved"))
      #expect(try portmap("list", "--json").stdout.contains(#""reserve":false"#))
      try portmap("check")
      try runtime.portmap("CHECK", "c1", [PortMapping(8080, 80)], behind: result)
      try host.exec("iptables", "-t", "nat", "-F", "PREROUTING")
      try portmap("check", status: 1)
      try portmap("repair")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      try portmap("unmap", "8080")
      try runtime.portmap("DEL", "c1")
      try host.expectUnchanged(before, processes: [stranger.pid])
    }
  }

  @Test func podmanBindsPortsItself() throws {
    try withRuntime { topology, runtime in
      let result = runtime.result(Address.web + "/24")
      let podman = topology.folder + "/podman"
      try run(["cp", "/bin/bash", podman])
      // The parent's program is meant, whatever it calls itself.
      func prefix(_ words: String) -> [String] {
        ["bash", "-c", "exec -a \(words) -c '\"$@\"; exit $?' sh \"$@\"", "sh"]
      }
      runtime.prefix = prefix("other \(podman)")
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try topology.host.processes().isEmpty)
      runtime.settings["reserve"] = true
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try topology.host.processes().count == 1)
      runtime.settings = [:]
      runtime.prefix = prefix("podman bash")
      try runtime.portmap("ADD", "c2", [PortMapping(8081, 80)], behind: result)
      #expect(try topology.host.processes().count == 2, "a name proves nothing")
    }
  }

  @Test func sourceAddressesAndConditions() throws {
    try withRuntime { topology, runtime in
      let (host, outside, portmap) = (topology.host, topology.outside, topology.portmap)
      let before = try host.snapshot()
      try topology.web.serve(.tcp, "0.0.0.0", "80", name: "web")
      let result = runtime.result(Address.web + "/24")
      runtime.settings = ["snat": false]
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try host.rules().allSatisfy { !$0.contains("MASQUERADE") })
      #expect(try outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      try portmap("check")
      runtime.settings = ["masqAll": true]
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      #expect(try outside.ask(.tcp, Address.host, 8080).peer == Address.bridge)

      // Written otherwise than iptables prints it, and about the destination as well.
      runtime.settings = [
        "conditionsV4": ["!", "--source", Address.outside, "-d", Address.host, "-m", "mark", "--mark", "0"]
      ]
      let ports = [PortMapping(8080, 80), PortMapping(8081, 80, on: Address.host)]
      try runtime.portmap("ADD", "c1", ports, behind: result)
      #expect(try outside.ask(.tcp, Address.host, 8080).isUnanswered)
      #expect(try outside.ask(.tcp, Address.host6, 8080).isUnanswered, "a proxy would go around them")
      try outside.ip("addr", "add", "192.0.2.9/24", "dev", "eth0")
      #expect(try outside.ask(.tcp, Address.host, 8080, "--bind", "192.0.2.9").name == "web")
      #expect(try outside.ask(.tcp, Address.host, 8081, "--bind", "192.0.2.9").name == "web")
      #expect(try host.bind(.tcp, "0.0.0.0", 8080) != nil, "it is held nonetheless")
      try portmap("check")
      try runtime.portmap("CHECK", "c1", ports, behind: result)
      try host.exec("iptables", "-t", "nat", "-F", "OUTPUT")
      try portmap("repair")
      try portmap("check")
      try runtime.portmap("DEL", "c1")
      try host.expectUnchanged(before)

      // What iptables does not take leaves nothing.
      runtime.settings = ["conditionsV4": ["-m", "nonsense"]]
      let outcome = try runtime.portmap("ADD", "c1", ports, behind: result, status: 1)
      #expect(try failure(outcome).code == 999, "\(outcome)")
      try host.expectUnchanged(before)
    }
  }

  @Test func aPortOfAContainerThatIsGone() throws {
    try withRuntime { topology, runtime in
      let result = runtime.result(Address.web + "/24")
      let container = try Namespace("c", topology.cleanup)
      let path = "/run/netns/\(container.name)"
      try runtime.portmap(
        "ADD",
        "c1",
        [PortMapping(8080, 80), PortMapping(8081, 80)],
        behind: result,
        netns: path
      )
      let taken = try runtime.portmap(
        "ADD",
        "c2",
        [PortMapping(8081, 80)],
        behind: result,
        netns: path,
        status: 1
      )
      #expect(try failure(taken).code == 11)
      try run(["ip", "netns", "del", container.name])
      try runtime.portmap("ADD", "c2", [PortMapping(8081, 80)], behind: result)
      #expect(try topology.portmap.list().mappings.map(\.origin) == ["cni:net/c2/eth0"])
      try topology.portmap("check")
    }
  }

  @Test func eachAttachmentHasItsOwn() throws {
    try withRuntime { topology, runtime in
      let result = runtime.result(Address.web + "/24")
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      runtime.environment = ["CNI_IFNAME": "eth1"]
      try runtime.portmap(
        "ADD",
        "c1",
        [PortMapping(8081, 80)],
        behind: runtime.result(Address.web + "/24", interface: "eth1")
      )
      runtime.network = "other"
      try runtime.portmap(
        "ADD",
        "c1",
        [PortMapping(8082, 80)],
        behind: runtime.result(Address.web + "/24", interface: "eth1")
      )
      try topology.portmap("map", "8083:80", "--to", Address.web)
      try runtime.portmap("DEL", "c1")
      #expect(try topology.portmap.list().mappings.map(\.hostPort).sorted() == [8080, 8081, 8083])
      runtime.network = "net"
      try runtime.portmap("DEL", "c1")
      #expect(try topology.portmap.list().mappings.map(\.hostPort).sorted() == [8080, 8083])
    }
  }

  @Test func checkSeesWhatIsMissing() throws {
    try withRuntime { topology, runtime in
      let result = runtime.result(Address.web + "/24")
      let ports = [PortMapping(8080, 80)]
      #expect(try failure(runtime.portmap("CHECK", "c1", ports, behind: result, status: 1)).code == 3)
      try runtime.portmap("CHECK", "c1", [], behind: result)
      try runtime.portmap("ADD", "c1", ports, behind: result)
      try runtime.portmap("CHECK", "c1", ports, behind: result)
      #expect(try failure(runtime.portmap("CHECK", "c1", ports, status: 1)).code == 7)
      for (other, result) in [
        ([PortMapping(8080, 81)], result), (ports + [PortMapping(8081, 80)], result),
        (ports, runtime.result(Address.other + "/24")), ([], result),
      ] {
        let failure = try failure(runtime.portmap("CHECK", "c1", other, behind: result, status: 1))
        #expect(failure.code == 100, "\(failure)")
      }
      // What others have lost is no matter of this attachment.
      try runtime.portmap("ADD", "c2", [PortMapping(8090, 80)], behind: result)
      try topology.host.exec(
        "sh",
        "-c",
        "iptables-save | sed -n '/dport 8090 .*DNAT/s/-A/iptables -t nat -D/p' | sh"
      )
      try topology.portmap("check", status: 1)
      try runtime.portmap("CHECK", "c1", ports, behind: result)
      #expect(
        try failure(runtime.portmap("CHECK", "c2", [PortMapping(8090, 80)], behind: result, status: 1)).code
          == 100
      )
      try topology.host.killProcesses()
      let failure = try failure(runtime.portmap("CHECK", "c1", ports, behind: result, status: 1))
      #expect(failure.code == 100 && failure.details.contains("8080"), "\(failure)")
      try topology.portmap("repair")
      try runtime.portmap("CHECK", "c1", ports, behind: result)
      runtime.version = "0.3.1"
      #expect(
        try self.failure(
          runtime.portmap("CHECK", "c1", ports, behind: runtime.result(Address.web), status: 1)
        ).code == 1
      )
    }
  }

  @Test func garbageIsCollectedInOneNetwork() throws {
    try withRuntime { topology, runtime in
      runtime.version = "1.1.0"
      let result = runtime.result(Address.web + "/24")
      for (number, container) in ["c1", "c2", "c3"].enumerated() {
        try runtime.portmap("ADD", container, [PortMapping(8080 + number, 80)], behind: result)
      }
      runtime.network = "other"
      try runtime.portmap("ADD", "c2", [PortMapping(8090, 80)], behind: result)
      runtime.network = "net"
      try topology.portmap("map", "8091:80", "--to", Address.web)
      func ports() throws -> [Int] { try topology.portmap.list().mappings.map(\.hostPort).sorted() }
      func collect(_ valid: Any?, status: Int32 = 0) throws -> Outcome {
        let rest = valid.map { ["cni.dev/valid-attachments": $0] } ?? [:]
        let variables = ["CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""]
        return try runtime.raw(
          "GC",
          runtime.configuration([], nil, rest),
          variables: variables,
          status: status
        )
      }
      for wrong in [nil, NSNull(), "all", [["containerID": "c1"]]] as [Any?] {
        #expect([6, 7].contains(try failure(collect(wrong, status: 1)).code))
      }
      #expect(try failure(collect(nil, status: 1)).code == 7)
      #expect(try ports() == [8080, 8081, 8082, 8090, 8091])
      let valid = [["containerID": "c1", "ifname": "eth0"], ["containerID": "c2", "ifname": "eth1"]]
      #expect(try collect(valid).stdout.isEmpty)
      #expect(try ports() == [8080, 8090, 8091])
      _ = try collect([[String: String]]())
      #expect(try ports() == [8090, 8091])
      runtime.version = "1.0.0"
      #expect(try failure(collect(valid, status: 1)).code == 1)
    }
  }

  @Test func statusSaysWhetherRulesCanBeMade() throws {
    try withRuntime { topology, runtime in
      runtime.version = "1.1.0"
      let variables = ["CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""]
      let configuration = try runtime.configuration()
      #expect(try runtime.raw("STATUS", configuration, variables: variables).stdout.isEmpty)
      // A PATH without iptables.
      let folder = topology.folder + "/bin"
      try run(["sh", "-c", "mkdir \"$0\" && ln -s /bin/sh \"$0/sh\"", folder])
      let without = variables.merging(["PATH": folder]) { $1 }
      let outcome = try runtime.raw("STATUS", configuration, variables: without, status: 1)
      #expect(try failure(outcome).code == 50 && outcome.stdout.contains("iptables"))
      runtime.prefix = ["setpriv", "--bounding-set", "-net_admin"]
      #expect(try failure(runtime.raw("STATUS", configuration, variables: variables, status: 1)).code == 50)
    }
  }

  @Test func aHundredAtOnce() throws {
    try withRuntime { topology, runtime in
      let result = runtime.result(Address.web + "/24")
      let before = try topology.host.snapshot()
      for command in ["ADD", "DEL"] {
        let started = try (0..<100).map {
          try runtime.start(command, "c\($0)", [PortMapping(8000 + $0, 80)], behind: result)
        }
        for process in started { try process.wait(timeout: 120).expecting(0) }
        #expect(try topology.portmap.list().mappings.count == (command == "ADD" ? 100 : 0))
      }
      try topology.host.expectUnchanged(before)
    }
  }
}
