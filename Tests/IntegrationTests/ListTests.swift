import Foundation
import Testing

/// What `list` shows, as a table, by identifier and as JSON.
@Suite struct ListTests {
  typealias Address = Topology.Address

  private func withSomeOfEverything(_ body: (Portmap, String) throws -> Void) throws {
    try withTopology { topology in
      let ip = try topology.portmap("alloc", "--ip", "--name", "db").lines[0]
      try topology.portmap("map", "8080:80/udp", "8081:80", "--to", "db")
      try topology.portmap("map", "127.0.0.1:8082:80", "8000-8010:80-90", "--to", Address.web)
      try topology.portmap("alloc", "9000", "192.0.2.1:9001/udp")
      try body(topology.portmap, ip)
    }
  }

  @Test func table() throws {
    try withSomeOfEverything { portmap, ip in
      let table = try portmap("list").lines
      for text in ["8080", "/udp", "8000-8010", "127.0.0.1:8082", "9000", "9001", ip, "db"] {
        #expect(table.contains { $0.contains(text) }, "\(text) in \(table)")
      }
      #expect(table.allSatisfy { $0.count <= 80 })
      // One target's line, and no other's.
      let one = try portmap("list", "8081").stdout
      #expect(one.contains("8081") && !one.contains("8000-8010"))
    }
  }

  @Test func json() throws {
    try withSomeOfEverything { portmap, ip in
      let list = try portmap.list()
      #expect(list.mappings.map(\.hostPort).sorted() == [8000, 8080, 8081, 8082])
      #expect(list.reservations.map(\.port).sorted() == [9000, 9001])
      #expect(list.reservations.first { $0.port == 9001 }?.hostIP == Address.host)
      #expect(list.reservations.first { $0.port == 9001 }?.protocol == "udp")
      let address = try #require(list.addresses.first)
      #expect(list.addresses.count == 1 && address.ip == ip && address.name == "db")
      #expect(address.bridge == "portmap0" && address.gateway == "172.16.42.1" && address.prefixLength == 24)
      #expect(address.portMapping == ["Tcp": ["80": "8081"], "Udp": ["80": "8080"]])
      let loopback = try #require(list.mappings.first { $0.hostPort == 8082 })
      #expect(loopback.hostIP == "127.0.0.1" && !loopback.nat && loopback.proxy)
      let range = try #require(list.mappings.first { $0.hostPort == 8000 })
      #expect(range.hostPortEnd == 8010 && range.backendPort == 80 && range.backendPortEnd == 90)
    }
  }

  @Test func jsonIsOneDocumentWithSortedKeys() throws {
    try withSomeOfEverything { portmap, _ in
      let text = try portmap("list", "--json").stdout
      let document = try JSONSerialization.jsonObject(with: Data(text.utf8))
      let sorted = try JSONSerialization.data(withJSONObject: document, options: [.sortedKeys])
      let squeezed = text.filter { !$0.isWhitespace }
      #expect(
        String(decoding: sorted, as: UTF8.self).replacing("\\/", with: "/").filter { !$0.isWhitespace }
          == squeezed
      )
    }
  }

  @Test func targets() throws {
    try withSomeOfEverything { portmap, ip in
      let byID = try portmap.list().mappings[0]
      #expect(try portmap.list(byID.id).mappings == [byID])
      #expect(try portmap.list("8080/udp").mappings.map(\.hostPort) == [8080])
      #expect(try portmap.list("9000").reservations.map(\.port) == [9000])
      #expect(try portmap.list("db").addresses.map(\.ip) == [ip])
      let outcome = try portmap("list", "8080", status: 5)
      #expect(outcome.stderr.contains("8080"), "\(outcome)")
      try portmap("list", "80/TCP", status: 2)
    }
  }

  @Test func emptyState() throws {
    try withHost { portmap, host in
      let outcome = try portmap("list")
      #expect(outcome.stderr.isEmpty, "\(outcome)")
      #expect(try portmap.list().isEmpty)
      #expect(try portmap("list", "-q").stdout.isEmpty)
      try portmap("list", "8080", status: 5)
      try portmap("unmap", "8080", status: 5)
      try portmap("unmap", "--all")
      try portmap("unmap", "--if-exists", "8080")
      #expect(try host.processes().isEmpty)
    }
  }
}
