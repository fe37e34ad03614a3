import Testing

@testable import portmap

@Suite struct PortRangeTests {
  @Test(arguments: ["1", "80", "65535", "1-65535", "8000-8010"])
  func roundTrip(_ text: String) {
    #expect(PortRange(text[...])?.description == text)
  }

  @Test(arguments: [
    "", "0", "0-1", "65536", "1-65536", "2-1", "-", "1-", "-1", "1-2-3", " 1", "1 ", "+1", "a", "１",
  ])
  func refused(_ text: String) {
    #expect(PortRange(text[...]) == nil)
  }

  @Test func bounds() {
    #expect(PortRange(first: 0, last: 5) == nil)
    #expect(PortRange(first: 5, last: 4) == nil)
    #expect(PortRange(first: 65535, count: 1)?.last == 65535)
    #expect(PortRange(first: 65535, count: 2) == nil)
    #expect(PortRange(first: 1, count: 0) == nil)
    #expect(PortRange(first: 1, count: 65535)?.count == 65535)
    #expect(PortRange(first: 1, count: 65536) == nil)
    #expect(PortRange.automatic.description == "49153-65535")
  }

  @Test func relations() throws {
    let range = try #require(PortRange("8000-8010"))
    #expect(range.count == 11)
    #expect(range.contains(8000) && range.contains(8010))
    #expect(!range.contains(7999) && !range.contains(8011))
    for (text, overlaps, contained) in [
      ("7990-7999", false, false), ("7990-8000", true, false), ("8010-8020", true, false),
      ("8011-8020", false, false), ("8003-8005", true, true), ("8000-8010", true, true),
      ("7000-9000", true, false),
    ] {
      let other = try #require(PortRange(text[...]))
      #expect(range.overlaps(other) == overlaps && other.overlaps(range) == overlaps, "\(text)")
      #expect(range.contains(other) == contained, "\(text)")
    }
  }

  @Test(arguments: [("0", 0), ("00080", 80), ("65535", 65535)])
  func portNumber(text: String, expected: UInt16) {
    #expect(PortRange.port(text[...]) == expected)
  }

  @Test(arguments: ["", "65536", "-1", "+1", "1 ", "1\0", "٣", "0x1"])
  func noPortNumber(_ text: String) {
    #expect(PortRange.port(text[...]) == nil)
  }
}

@Suite struct TransportTests {
  @Test func choice() {
    #expect(TransportChoice("tcp+udp")?.transports == [.tcp, .udp])
    for transport in Transport.allCases {
      #expect(TransportChoice(transport.rawValue[...])?.transports == [transport])
      #expect(TransportChoice(transport.rawValue.uppercased()[...]) == nil)
    }
    #expect(TransportChoice("udp+tcp") == nil)
    #expect(TransportChoice("") == nil)
  }
}

@Suite struct HostAddressTests {
  @Test(arguments: [
    ("*", "*", true), ("*", "192.0.2.1", true), ("*", "::1", true), ("0.0.0.0", "192.0.2.1", true),
    ("0.0.0.0", "2001:db8::1", false), ("::", "2001:db8::1", true), ("::", "192.0.2.1", false),
    ("::", "0.0.0.0", false), ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false),
  ])
  func overlap(left: String, right: String, expected: Bool) throws {
    func host(_ text: String) throws -> HostAddress {
      text == "*" ? .every : .one(try Samples.address(text))
    }
    #expect(try host(left).overlaps(host(right)) == expected)
    #expect(try host(right).overlaps(host(left)) == expected)
  }
}
