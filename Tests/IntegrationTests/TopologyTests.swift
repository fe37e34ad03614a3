import Testing

/// What the other tests stand on: without portmap, nothing is mapped and everything else works.
@Suite struct TopologyTests {
  typealias Address = Topology.Address

  @Test func neighboursReachEachOther() throws {
    try withTopology { topology in
      try topology.host.serveBoth("::", "7000", name: "host")
      try topology.web.serveBoth("::", "7000", name: "web")
      try topology.outside.serveBoth("::", "7000", name: "outside")
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 7000).peer == Address.outside)
        #expect(try topology.outside.ask(transport, Address.host6, 7000).peer == Address.outside6)
        #expect(try topology.host.ask(transport, Address.web, 7000).peer == Address.bridge)
        #expect(try topology.other.ask(transport, Address.web6, 7000).peer == Address.other6)
        #expect(try topology.web.ask(transport, Address.bridge, 7000).peer == Address.web)
        #expect(try topology.outside.ask(transport, Address.host, 7001).verdict == .refused)
      }
    }
  }

  @Test func nothingIsLeftBehind() throws {
    var names: [String] = []
    var folder = ""
    try withTopology { topology in
      names = [topology.host, topology.outside, topology.web, topology.other].map(\.name)
      folder = topology.folder
      try topology.web.start(["sh", "-c", "sleep 60 & sleep 60"])
    }
    let left = try run(["ip", "netns", "list"]).stdout
    #expect(names.count == 4 && !names.contains { left.contains($0) })
    #expect(try run(["sh", "-c", "ls -d \(folder)"], status: 2).stdout.isEmpty)
  }
}
