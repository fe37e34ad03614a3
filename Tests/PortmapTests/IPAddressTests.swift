import Testing

@testable import portmap

@Suite struct IPAddressTests {
  @Test(arguments: [
    "192.0.2.1", "::1", "fe80::1", "2001:db8::", "0.0.0.0", "::", "255.255.255.255", "2001:db8:1:2:3:4:5:6",
    "::ffff:192.0.2.1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  ])
  func roundTrip(_ text: String) {
    #expect(IPAddress(text)?.description == text)
  }

  @Test(arguments: [
    ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"), ("0:0:0:0:0:0:0:0", "::"), ("1:0:0:2::", "1:0:0:2::"),
  ])
  func canonical(text: String, expected: String) {
    #expect(IPAddress(text)?.description == expected)
  }

  @Test(arguments: [
    "", "1", "127.1", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4 ", "1.2.3.4\0", "1.2.3.4/8",
    "::1%lo",
    "[::1]", ":::", "1:2:3:4:5:6:7:8:9", "g::", "localhost", "0x7f.0.0.1", "١.٢.٣.٤",
  ])
  func refused(_ text: String) {
    #expect(IPAddress(text) == nil)
  }

  @Test func everyAddressSurvivesItsText() throws {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<1000 {
      let v4 = IPAddress(v4: .random(in: 0...UInt32.max, using: &random))
      let v6 = IPAddress(v6: UInt128(random.next()) << 64 | UInt128(random.next()))
      #expect(IPAddress(v4.description) == v4)
      #expect(IPAddress(v6.description) == v6)
    }
  }

  @Test func kinds() throws {
    func all(_ texts: [String], _ property: KeyPath<IPAddress, Bool>) throws -> Bool {
      try texts.allSatisfy { try Samples.address($0)[keyPath: property] }
    }
    func none(_ texts: [String], _ property: KeyPath<IPAddress, Bool>) throws -> Bool {
      try texts.allSatisfy { try !Samples.address($0)[keyPath: property] }
    }
    #expect(try all(["127.0.0.1", "127.255.255.255", "::1"], \.isLoopback))
    #expect(try none(["126.255.255.255", "128.0.0.0", "::", "::2", "::127.0.0.1"], \.isLoopback))
    #expect(try all(["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1"], \.isMulticast))
    #expect(try none(["223.255.255.255", "240.0.0.0", "feff::"], \.isMulticast))
    #expect(try all(["169.254.0.0", "169.254.255.255", "fe80::", "febf::1"], \.isLinkLocal))
    #expect(try none(["169.253.0.1", "fec0::", "fe7f::"], \.isLinkLocal))
    #expect(try all(["::ffff:0:0", "::ffff:1.2.3.4"], \.isIPv4Mapped))
    #expect(try none(["::fffe:1.2.3.4", "::1.2.3.4", "1.2.3.4"], \.isIPv4Mapped))
    #expect(try all(["0.0.0.0", "::"], \.isUnspecified))
    #expect(try all(["255.255.255.255"], \.isBroadcast))
    #expect(try none(["255.255.255.254", "ffff::"], \.isBroadcast))
  }

  @Test func bytesAreInNetworkOrder() throws {
    #expect(try Samples.address("192.0.2.1").bytes == [192, 0, 2, 1])
    #expect(
      try Samples.address("2001:db8::1").bytes == [0x20, 1, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [
        1
      ]
    )
  }

  @Test func brackets() throws {
    #expect(try Samples.address("192.0.2.1").bracketed == "192.0.2.1")
    #expect(try Samples.address("::1").bracketed == "[::1]")
  }
}
