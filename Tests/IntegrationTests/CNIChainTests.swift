import Foundation
import Testing

/// The plugin behind Debian's plugins, in chains that a small runtime runs.
@Suite struct CNIChainTests {
  typealias Address = Topology.Address

  /// host-local keeps its records in a folder.
  private func ipam(_ topology: Topology) -> [String: Any] {
    [
      "type": "host-local", "ranges": [[["subnet": "10.88.0.0/24"]], [["subnet": "fd00:88::/64"]]],
      "routes": [["dst": "0.0.0.0/0"], ["dst": "::/0"]], "dataDir": topology.folder + "/ipam",
    ]
  }

  private func bridge(_ topology: Topology) -> CNIRuntime.Chain {
    let bridge: [String: Any] = [
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": ipam(topology),
    ]
    return CNIRuntime.Chain(plugins: [bridge])
  }

  @Test func bridgeAndHostLocal() throws {
    try withTopology { topology in
      let (host, outside) = (topology.host, topology.outside)
      let runtime = try CNIRuntime(topology)
      let chain = bridge(topology)
      let containers = try (0..<2).map { _ in try Namespace("c", topology.cleanup) }
      var results: [[String: Any]] = []
      for (number, container) in containers.enumerated() {
        let ports = [PortMapping(8080 + number, 80), PortMapping(8080 + number, 80, "udp")]
        results.append(try runtime.add(container, ports, chain))
        try container.serveBoth("::", "80", name: "c\(number)")
        try runtime.call("CHECK", container, ports, chain, results[number])
      }
      for transport in Transport.allCases {
        #expect(try outside.ask(transport, Address.host, 8080).peer == Address.outside)
        #expect(try outside.ask(transport, Address.host6, 8081).peer == Address.outside6)
        #expect(try host.ask(transport, "127.0.0.1", 8081).name == "c1")
        #expect(try host.ask(transport, "::1", 8080).name == "c0")
        #expect(try containers[0].ask(transport, Address.host, 8081).name == "c1")
        #expect(try containers[0].ask(transport, Address.host, 8080).name == "c0", "itself")
      }
      try topology.portmap("check")
      for (number, container) in containers.enumerated() {
        try runtime.call("DEL", container, [PortMapping(8080 + number, 80)], chain, results[number])
      }
      #expect(try topology.portmap.list().isEmpty)
      #expect(try host.rules().allSatisfy { !$0.contains("PORTMAP") })
      #expect(try host.processes().isEmpty)
    }
  }

  @Test func pointToPoint() throws {
    try withTopology { topology in
      let runtime = try CNIRuntime(topology)
      let chain = CNIRuntime.Chain(plugins: [["type": "ptp", "ipMasq": true, "ipam": ipam(topology)]])
      let container = try Namespace("c", topology.cleanup)
      let result = try runtime.add(container, [PortMapping(8080, 80)], chain)
      try container.serve(.tcp, "::", "80", name: "c")
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "c")
      #expect(try container.ask(.tcp, Address.host, 8080).name == "c", "itself")
      try runtime.call("DEL", container, [PortMapping(8080, 80)], chain, result)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  /// Containers of the original plugin are stopped by this one, and nothing of theirs stays.
  @Test func changingOver() throws {
    try withTopology { topology in
      let host = topology.host
      var original = try CNIRuntime(topology)
      original.isOriginal = true
      let runtime = try CNIRuntime(topology)
      let results = [
        original.result(Address.web + "/24", Address.web6 + "/64"),
        original.result(Address.other + "/24", Address.other6 + "/64"),
      ]
      let ports = [PortMapping(8080, 80), PortMapping(8053, 53, "udp")]
      try original.portmap("ADD", "c1", ports, behind: results[0])
      try original.portmap("ADD", "c2", [PortMapping(8081, 80)], behind: results[1])
      func chains() throws -> [String] {
        try (host.rules() + host.rules6()).filter { $0.contains("CNI-DN-") }
      }
      let both = try chains()
      // Beside a mapping of portmap's own, whose rules stay known as untouched.
      try topology.portmap("map", "9090:80", "--to", Address.web)
      try runtime.portmap("DEL", "c3")
      #expect(try chains() == both)
      try runtime.portmap("DEL", "c1", ports, behind: results[0])
      let one = try chains()
      #expect(!one.isEmpty && one.allSatisfy { !$0.contains("8080") && !$0.contains("8053") }, "\(one)")
      try topology.web.serve(.tcp, "0.0.0.0", "80", name: "web")
      try topology.other.serve(.tcp, "0.0.0.0", "80", name: "other")
      try runtime.portmap("ADD", "c1", ports, behind: results[0])
      #expect(try topology.outside.ask(.tcp, Address.host, 8080).name == "web")
      #expect(try topology.outside.ask(.tcp, Address.host, 8081).name == "other")
      try topology.portmap("check")
      try runtime.portmap("DEL", "c2")
      #expect(try chains().isEmpty)
    }
  }
}
