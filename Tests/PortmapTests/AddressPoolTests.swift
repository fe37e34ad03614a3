import Testing

@testable import portmap

@Suite struct AddressPoolTests {
  /// A bridge network and what is known of it, kept as `alloc --ip` and `unmap` keep it.
  private struct Network {
    let subnet: Subnet
    var taken: Set<IPAddress> = []
    var cursor: IPAddress?
    var freed: [IPAddress] = []

    init(_ text: String) throws {
      subnet = try Samples.subnet(text)
    }

    mutating func allocate() -> IPAddress? {
      let pool = AddressPool(subnet: subnet, taken: taken, cursor: cursor, freed: freed)
      guard let address = pool.next() else { return nil }
      taken.insert(address)
      freed.removeAll { $0 == address }
      if cursor.map({ $0 < address }) ?? true { cursor = address }
      return address
    }

    mutating func release(_ address: IPAddress) {
      taken.remove(address)
      freed.append(address)
    }
  }

  @Test(arguments: [
    ("192.0.2.1/29", ["192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"]),
    ("192.0.2.4/29", ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.5", "192.0.2.6"]),
    ("192.0.2.6/29", ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"]),
    ("192.0.2.1/30", ["192.0.2.2"]),
    ("192.0.2.1/31", []),
    ("192.0.2.1/32", []),
    ("255.255.255.253/30", ["255.255.255.254"]),
    ("2001:db8::1/126", ["2001:db8::2", "2001:db8::3"]),
    ("2001:db8::1/128", []),
  ])
  func upwardWithoutNetworkBroadcastAndGateway(subnet: String, expected: [String]) throws {
    var network = try Network(subnet)
    var given: [String] = []
    while let address = network.allocate() { given.append(address.description) }
    #expect(given == expected)
  }

  @Test func releasedOnesAreNotGivenAgainAtOnce() throws {
    var network = try Network("192.0.2.1/28")
    let first = network.allocate()
    network.release(try #require(first))
    #expect(network.allocate()?.description == "192.0.2.3")
    #expect(network.allocate()?.description == "192.0.2.4")
  }

  @Test func afterExhaustionTheFirstReleasedComesFirst() throws {
    var network = try Network("192.0.2.1/29")
    while network.allocate() != nil {}
    for text in ["192.0.2.5", "192.0.2.2", "192.0.2.6"] { network.release(try Samples.address(text)) }
    #expect(network.allocate()?.description == "192.0.2.5")
    network.release(try Samples.address("192.0.2.3"))
    #expect(network.allocate()?.description == "192.0.2.2")
    #expect(network.allocate()?.description == "192.0.2.6")
    #expect(network.allocate()?.description == "192.0.2.3")
    #expect(network.allocate() == nil)
  }

  @Test func strangersAddressesArePassedOver() throws {
    var network = try Network("192.0.2.1/29")
    network.taken = [try Samples.address("192.0.2.2"), try Samples.address("192.0.2.4")]
    #expect(network.allocate()?.description == "192.0.2.3")
    #expect(network.allocate()?.description == "192.0.2.5")
    #expect(network.allocate()?.description == "192.0.2.6")
    network.taken.remove(try Samples.address("192.0.2.2"))
    #expect(network.allocate()?.description == "192.0.2.2")
  }

  /// Records from before the bridge's network changed do no harm.
  @Test func whatIsOfAnotherNetworkIsIgnored() throws {
    var network = try Network("192.0.2.1/29")
    network.freed = [try Samples.address("10.0.0.9")]
    while let address = network.allocate() { #expect(network.subnet.contains(address)) }
  }

  @Test func cursorOfAnotherNetworkIsIgnored() throws {
    for cursor in ["10.0.0.9", "203.0.113.9", "192.0.2.1", "192.0.2.7"] {
      var network = try Network("192.0.2.1/29")
      network.cursor = try Samples.address(cursor)
      #expect(network.allocate() != nil, "cursor \(cursor)")
    }
  }

  @Test func noAddressIsEverGivenTwice() throws {
    var random = SeededGenerator(seed: 5)
    for _ in 0..<50 {
      var network = try Network("192.0.2.\(Int.random(in: 1...14, using: &random))/28")
      var held: Set<IPAddress> = []
      var releases: [IPAddress] = []
      var isExhausted = false
      for _ in 0..<200 {
        if Bool.random(using: &random), let address = held.randomElement(using: &random) {
          held.remove(address)
          network.release(address)
          releases.append(address)
        } else if let address = network.allocate() {
          #expect(held.insert(address).inserted)
          #expect(network.subnet.contains(address) && address != network.subnet.address)
          #expect(address != network.subnet.network && address != network.subnet.last)
          if isExhausted { #expect(address == releases.first) }
          releases.removeAll { $0 == address }
        } else {
          #expect(held.count == 13)
          isExhausted = true
        }
      }
    }
  }
}

@Suite struct BridgePlanTests {
  private func choice(_ routes: [String]) throws -> String? {
    BridgePlan.choose(routes: try routes.map { try Samples.subnet($0) })?.description
  }

  @Test func candidatesInTheirOrder() throws {
    #expect(try choice([]) == "172.16.42.1/24")
    #expect(try choice(["172.16.42.128/25"]) == "10.0.42.1/24")
    #expect(try choice(["172.16.0.0/12", "10.0.42.7/32"]) == "192.168.42.1/24")
    #expect(try choice(["172.16.42.0/24", "10.0.42.0/24", "192.168.42.0/24"]) == "172.30.0.1/16")
    #expect(try choice(["172.16.0.0/12", "10.0.0.0/8", "192.168.0.0/16"]) == "198.18.42.1/24")
    #expect(try choice(["172.16.0.0/12", "10.0.0.0/8", "192.168.0.0/16", "198.18.0.0/15"]) == nil)
  }

  @Test func candidatesArePrivateAndWellFormed() {
    #expect(BridgePlan.candidates.count > 400)
    for candidate in BridgePlan.candidates {
      #expect(candidate.address.value == candidate.network.value + 1)
      #expect(["10.", "172.", "192.168.", "198."].contains { candidate.description.hasPrefix($0) })
    }
  }

  @Test func routesThatCountAndThoseThatDoNot() {
    let destinations: [String?] = [
      "default", "10.0.0.0/8", nil, "192.0.2.1", "0.0.0.0/0", "2001:db8::/32", "::1", "fe80::/64", "", "junk",
      "10.0.0.0/33", "1.2.3", "0.0.0.0/1", "unreachable", "broadcast 10.0.0.255",
    ]
    #expect(
      IPRoute.routes(in: destinations).map(\.description) == ["10.0.0.0/8", "192.0.2.1/32", "0.0.0.0/1"]
    )
  }
}
