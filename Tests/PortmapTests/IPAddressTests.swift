import Testing

@testable import portmap

@Suite struct IPAddressTests {
  @Test(arguments: ["192.0.2.1", "::1", "fe80::1", "2001:db8::", "0.0.0.0"])
  func roundTrip(_ text: String) {
    #expect(IPAddress(text)?.description == text)
  }
}
