import Testing

@testable import portmap

@Suite struct SubnetTests {
  @Test(arguments: ["172.16.42.1/24", "0.0.0.0/0", "10.0.0.1/32", "192.0.2.0/31", "::/0", "2001:db8::1/128"])
  func roundTrip(_ text: String) {
    #expect(Subnet(text)?.description == text)
  }

  @Test(arguments: [
    "", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/+8", "10.0.0.1/8 ",
    "10.0.0.1/0008", "10.0.0.1/024", "10.0.0.1/00", "10.0.0.1/-0", "10.0.0.1/99999999999999999999", "::/٣",
    "10.0.0.1/255.0.0.0", "10.0.0/8", "/8", "::/129", "::/a", "10.0.0.1/8/8",
  ])
  func refused(_ text: String) {
    #expect(Subnet(text) == nil)
  }

  @Test(arguments: [
    ("172.16.42.1/24", "172.16.42.0", "172.16.42.255"),
    ("10.1.2.3/0", "0.0.0.0", "255.255.255.255"),
    ("10.1.2.3/1", "0.0.0.0", "127.255.255.255"),
    ("10.1.2.3/31", "10.1.2.2", "10.1.2.3"),
    ("10.1.2.3/32", "10.1.2.3", "10.1.2.3"),
    ("255.255.255.255/32", "255.255.255.255", "255.255.255.255"),
    ("2001:db8::1/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::1/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"),
    ("2001:db8::1/127", "2001:db8::", "2001:db8::1"),
    ("2001:db8::1/128", "2001:db8::1", "2001:db8::1"),
  ])
  func edges(text: String, network: String, last: String) throws {
    let subnet = try Samples.subnet(text)
    #expect(subnet.network.description == network)
    #expect(subnet.last.description == last)
    #expect(
      subnet.contains(subnet.network) && subnet.contains(subnet.last) && subnet.contains(subnet.address)
    )
  }

  @Test(arguments: [
    ("10.0.0.0/8", "10.255.255.255", true), ("10.0.0.0/8", "11.0.0.0", false),
    ("0.0.0.0/0", "203.0.113.9", true),
    ("0.0.0.0/0", "::1", false), ("::/0", "10.0.0.1", false), ("::/0", "2001:db8::1", true),
    ("10.1.2.2/31", "10.1.2.3", true), ("10.1.2.2/31", "10.1.2.4", false), ("10.1.2.2/32", "10.1.2.3", false),
    ("2001:db8::/128", "2001:db8::1", false),
  ])
  func contains(subnet: String, address: String, expected: Bool) throws {
    #expect(try Samples.subnet(subnet).contains(Samples.address(address)) == expected)
  }

  @Test(arguments: [
    ("10.0.0.0/8", "10.42.0.0/16", true), ("10.42.0.0/16", "10.43.0.0/16", false),
    ("0.0.0.0/0", "192.0.2.1/32", true), ("192.0.2.1/32", "192.0.2.1/32", true),
    ("192.0.2.0/31", "192.0.2.2/31", false), ("0.0.0.0/0", "::/0", false), ("::/0", "2001:db8::1/128", true),
    ("172.16.42.1/24", "172.16.42.77/30", true), ("172.16.42.1/24", "172.16.43.1/23", true),
  ])
  func overlap(left: String, right: String, expected: Bool) throws {
    #expect(try Samples.subnet(left).overlaps(Samples.subnet(right)) == expected)
    #expect(try Samples.subnet(right).overlaps(Samples.subnet(left)) == expected)
  }

  /// Two networks overlap where one has the other's first address, whatever their sizes.
  @Test func overlapAgreesWithContains() throws {
    var random = SeededGenerator(seed: 4)
    for _ in 0..<2000 {
      let base = UInt32.random(in: 0...255, using: &random)
      let other = UInt32.random(in: 0...255, using: &random)
      let one = try #require(Subnet(IPAddress(v4: base), prefixLength: .random(in: 24...32, using: &random)))
      let two = try #require(Subnet(IPAddress(v4: other), prefixLength: .random(in: 24...32, using: &random)))
      let shared = (0...255).contains { value in
        one.contains(IPAddress(v4: value)) && two.contains(IPAddress(v4: value))
      }
      #expect(one.overlaps(two) == shared)
    }
  }

  @Test func gateway() throws {
    #expect(try Samples.subnet("10.9.0.0/24").withGateway.description == "10.9.0.1/24")
    #expect(try Samples.subnet("10.9.0.7/24").withGateway.description == "10.9.0.7/24")
  }
}
