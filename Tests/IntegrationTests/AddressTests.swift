import Testing

/// `alloc --ip`: addresses of the bridge network, next-fit, with names.
@Suite struct AddressTests {
  typealias Address = Topology.Address

  @Test func oneAfterTheOther() throws {
    try withHost { portmap, host in
      #expect(try portmap("alloc", "--ip").stdout == "172.16.42.2\n")
      #expect(try portmap("alloc", "--ip", "--name", "db").stdout == "172.16.42.3\n")
      try portmap("unmap", "172.16.42.2")
      // A released address is not at once given again.
      #expect(try portmap("alloc", "--ip").stdout == "172.16.42.4\n")
      let addresses = try portmap.list().addresses
      #expect(addresses.map(\.ip) == ["172.16.42.3", "172.16.42.4"])
      #expect(addresses.allSatisfy { $0.bridge == "portmap0" && $0.gateway == "172.16.42.1" })
      #expect(try host.links().contains("portmap0"))
      #expect(try host.ip("addr", "show", "portmap0").stdout.contains("172.16.42.1/24"))
    }
  }

  @Test func exhaustionAndWhatComesAfter() throws {
    try withHost { portmap, _ in
      var given: [String] = []
      for _ in 0..<5 { given += try portmap("alloc", "--ip", "--subnet", "10.77.0.0/29").lines }
      // Never the network's, the broadcast or the bridge's own address.
      let gateway = try portmap.list().addresses[0].gateway
      let hosts = (1...6).map { "10.77.0.\($0)" }
      #expect(Set(given).count == 5 && Set(given + [gateway]) == Set(hosts), "\(given)")
      let outcome = try portmap("alloc", "--ip", status: 3)
      #expect(outcome.stderr.contains("10.77.0.0/29"), "\(outcome)")
      // The first released comes first, whatever its number.
      for address in [given[3], given[0], given[2]] { try portmap("unmap", address) }
      for address in [given[3], given[0], given[2]] {
        #expect(try portmap("alloc", "--ip").lines == [address])
      }
      try portmap("alloc", "--ip", status: 3)
    }
  }

  @Test func namesAreTargets() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let ip = try portmap("alloc", "--ip", "--name", "db").lines[0]
      #expect(try portmap("map", "8080:80", "--to", "db").stdout == "8080->\(ip):80\n")
      #expect(try portmap.list().addresses[0].portMapping?["Tcp"] == ["80": "8080"])
      let outcome = try portmap("map", "8081:80", "--to", "nobody", status: nil)
      #expect(outcome.status != 0 && outcome.stderr.contains("nobody"), "\(outcome)")
      let again = try portmap("alloc", "--ip", "--name", "db", status: nil)
      #expect(again.status != 0 && again.stderr.contains("db"), "\(again)")
      for name in ["deadbeef", "9lives", "a234567890123456", "a b", "naïve", ""] {
        let refused = try portmap("alloc", "--ip", "--name=\(name)", status: 2)
        #expect(refused.stderr.contains(name) || name.isEmpty, "\(refused)")
      }
    }
  }

  @Test func aMappingWithoutABackendAllocatesOne() throws {
    try withHost { portmap, host in
      #expect(try portmap("map", "8080:80/udp").stdout == "8080->172.16.42.2:80/udp\n")
      #expect(
        try portmap("map", "8081:80", "8082:80").stdout == "8081->172.16.42.3:80\n8082->172.16.42.3:80\n"
      )
      let addresses = try portmap.list().addresses
      #expect(addresses.map(\.ip) == ["172.16.42.2", "172.16.42.3"])
      #expect(["8081", "8082"].contains(addresses[1].portMapping?["Tcp"]?["80"] ?? ""))
      try portmap("unmap", "172.16.42.2", "172.16.42.3")
      #expect(try portmap.list().isEmpty)
      try portmap("unmap", "--all")
      try host.expectUnchanged(Snapshot(rules: [], rules6: [], links: ["lo"]))
    }
  }

  @Test func onABridgeThatIsNotPortmaps() throws {
    try withTopology { topology in
      let before = try topology.host.snapshot()
      // The host talks to both guests: its neighbour table knows them.
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.other.serve(.tcp, Address.other, "80", name: "other")
      for address in [Address.web, Address.other] {
        #expect(try topology.host.ask(.tcp, address, 80).verdict == .answered)
      }
      let portmap = topology.portmap
      #expect(try portmap("alloc", "--ip", "--bridge", "br0").stdout == "10.99.0.4\n")
      var viaEnvironment = portmap
      viaEnvironment.environment = ["PORTMAP_BRIDGE": "br0"]
      #expect(try viaEnvironment("alloc", "--ip").stdout == "10.99.0.5\n")
      let address = try portmap.list().addresses[0]
      #expect(address.bridge == "br0" && address.gateway == Address.bridge && address.prefixLength == 24)
      try portmap("unmap", "--all")
      #expect(try topology.host.snapshot() == before)
    }
  }

  @Test func theFirstOfSeveralAddressesCounts() throws {
    try withTopology { topology in
      try topology.host.ip("addr", "add", "10.98.0.1/24", "dev", "br0")
      let outcome = try topology.portmap("alloc", "--ip", "--bridge", "br0")
      #expect(outcome.stdout.hasPrefix("10.99.0."), "\(outcome)")
      #expect(outcome.stderr.contains("br0"), "no warning: \(outcome)")
    }
  }

  @Test func aMappingToTheNextAddressOfAnotherBridge() throws {
    try withTopology { topology in
      let mapping = try #require(try topology.portmap.map("8080:80", "--bridge", "br0").first)
      #expect(mapping.backendIP.hasPrefix("10.99.0."))
      let addresses = try topology.portmap.list().addresses
      #expect(addresses.map(\.ip) == [mapping.backendIP] && addresses.map(\.bridge) == ["br0"])
      #expect(try topology.host.links().contains("portmap0") == false)
    }
  }

  @Test func bridgesThatAreNoUse() throws {
    try withHost { portmap, host in
      try host.ip("link", "add", "bare0", "type", "bridge")
      try host.ip("link", "add", "eth0", "type", "veth")
      let before = try host.snapshot()
      for bridge in ["bare0", "eth0", "none0"] {
        let outcome = try portmap("alloc", "--ip", "--bridge", bridge, status: nil)
        #expect(![0, 2].contains(outcome.status) && outcome.stderr.contains(bridge), "\(outcome)")
        try host.expectUnchanged(before)
      }
    }
  }
}
