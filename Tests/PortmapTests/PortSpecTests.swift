import Testing

@testable import portmap

/// The grammar of `map`'s operands: the table of the contract, and what is none.
@Suite struct PortSpecTests {
  /// The parts of a spec as short texts: address, frontend, backend, transports.
  private func parts(_ text: String) throws -> [String] {
    let spec = try PortSpec(text)
    let frontend =
      switch spec.frontend {
      case .allocated: "allocated"
      case .fixed(let ports): "\(ports)"
      case .anyOf(let ports): "any of \(ports)"
      }
    let transports = spec.transports.transports.map(\.rawValue).joined(separator: "+")
    return ["\(spec.hostAddress)", frontend, "\(spec.backend)", transports]
  }

  @Test(arguments: [
    ("80", ["*", "allocated", "80", "tcp"]),
    ("0:80", ["*", "allocated", "80", "tcp"]),
    (":80", ["*", "80", "80", "tcp"]),
    (":80-90", ["*", "80-90", "80-90", "tcp"]),
    ("8080:80", ["*", "8080", "80", "tcp"]),
    ("8080:80/udp", ["*", "8080", "80", "udp"]),
    ("8080:80/sctp", ["*", "8080", "80", "sctp"]),
    ("8080:80/tcp", ["*", "8080", "80", "tcp"]),
    ("127.0.0.1:8080:80", ["127.0.0.1", "8080", "80", "tcp"]),
    ("[::1]:8080:80", ["::1", "8080", "80", "tcp"]),
    ("127.0.0.1::80", ["127.0.0.1", "allocated", "80", "tcp"]),
    ("[::1]::80", ["::1", "allocated", "80", "tcp"]),
    ("127.0.0.1:0:80", ["127.0.0.1", "allocated", "80", "tcp"]),
    ("127.0.0.1::80-90/udp", ["127.0.0.1", "allocated", "80-90", "udp"]),
    ("0.0.0.0:8080:80", ["0.0.0.0", "8080", "80", "tcp"]),
    ("[::]:8080:80", ["::", "8080", "80", "tcp"]),
    ("8000-8010:80", ["*", "any of 8000-8010", "80", "tcp"]),
    ("[2001:db8::1]:8000-8010:80", ["2001:db8::1", "any of 8000-8010", "80", "tcp"]),
    ("8000-8010:80-90", ["*", "8000-8010", "80-90", "tcp"]),
    ("8000-8000:80", ["*", "8000", "80", "tcp"]),
    ("80-90", ["*", "allocated", "80-90", "tcp"]),
    ("53:53/tcp+udp", ["*", "53", "53", "tcp+udp"]),
    ("53/tcp+udp", ["*", "allocated", "53", "tcp+udp"]),
    ("1:65535", ["*", "1", "65535", "tcp"]),
    ("1-65535:1-65535", ["*", "1-65535", "1-65535", "tcp"]),
    ("080:0080", ["*", "80", "80", "tcp"]),
  ])
  func table(text: String, expected: [String]) throws {
    #expect(try parts(text) == expected)
  }

  static let invalid = [
    "", ":", "::", "/", "/tcp", "80/", "80/tcp/udp", "80/TCP", "80/Tcp", "80/icmp", "80/udp+tcp", "80/tcp+",
    "80/tcp ", "80//tcp", "1:2:3:4", "+80", "-80", "80 ", " 80", "80\n", "80\t", "80\0", "8 0", "0x50", "8e1",
    "65536", "99999999999999999999", "90-80", "80-", "-", "80--90", "80-85-90", "0", "0:0", ":0", "8080:0",
    "8080:0-5", "0-5:80", "80:", "8080:", "http", "8080:http", "8000-8010:80-91", "8000-8010:80-89",
    "8000:80-90", "::1:80:80", "::1::80", "[::1]", "[::1]:80", "[::1]80:80", "[::1]:1:2:3", "[::1:80:80",
    "::1]:80:80", "[]:80:80", "[127.0.0.1]:80:80", "[::1%lo]:80:80", "[fe80::1%eth0]:80:80",
    "[fe80::1]:80:80",
    "[::ffff:192.0.2.1]:80:80", "[ff02::1]:80:80", "224.0.0.1:80:80", "255.255.255.255:80:80",
    "localhost:80:80", "*:80:80", "1:80:80", "127.1:80:80", "0127.0.0.1:80:80", "127.0.0.256:80:80",
    "127.0.0.1:80", "127.0.0.1:80:80:80", "٨٠", "８０", "8\u{301}0", "80\u{200B}", "²", "80–90",
  ]

  @Test(arguments: invalid)
  func refusedWithItsText(_ text: String) {
    let error = #expect(throws: SpecError.self) { try PortSpec(text) }
    #expect(error?.text == text)
    #expect(error?.expected.isEmpty == false)
  }

  /// Whatever is made of valid parts is read as these parts.
  @Test func roundTrips() throws {
    var random = SeededGenerator(seed: 1)
    let addresses = ["", "127.0.0.1:", "0.0.0.0:", "[::]:", "[2001:db8::17]:"]
    for _ in 0..<2000 {
      let width = Int.random(in: 1...20, using: &random)
      let last = UInt16(65536 - width)
      let host = try #require(PortRange(first: .random(in: 1...last, using: &random), count: width))
      let backend = try #require(PortRange(first: .random(in: 1...last, using: &random), count: width))
      let address = try #require(addresses.randomElement(using: &random))
      let suffix = try #require(["", "/udp", "/sctp", "/tcp+udp"].randomElement(using: &random))
      let spec = try PortSpec("\(address)\(host):\(backend)\(suffix)")
      #expect(spec.frontend == .fixed(host))
      #expect(spec.backend == backend)
      #expect(spec.width == width)
      #expect(spec.hostAddress.prefix == address)
    }
  }
}

@Suite struct ReservationSpecTests {
  private func parts(_ text: String) throws -> [String] {
    let spec = try ReservationSpec(text)
    let transports = spec.transports.transports.map(\.rawValue).joined(separator: "+")
    return ["\(spec.hostAddress)", spec.ports.map { "\($0)" } ?? "any", transports]
  }

  @Test(arguments: [
    ("8080", ["*", "8080", "tcp"]),
    ("0", ["*", "any", "tcp"]),
    ("0/udp", ["*", "any", "udp"]),
    ("0/tcp+udp", ["*", "any", "tcp+udp"]),
    ("8000-8010", ["*", "8000-8010", "tcp"]),
    ("8000-8010/sctp", ["*", "8000-8010", "sctp"]),
    ("127.0.0.1:8080", ["127.0.0.1", "8080", "tcp"]),
    ("[::1]:8080/udp", ["::1", "8080", "udp"]),
    ("127.0.0.1:0", ["127.0.0.1", "any", "tcp"]),
    ("[2001:db8::1]:8000-8010", ["2001:db8::1", "8000-8010", "tcp"]),
  ])
  func table(text: String, expected: [String]) throws {
    #expect(try parts(text) == expected)
  }

  @Test(arguments: [
    "", ":", ":80", "80:", "80:80", "1:2:3", "80/", "80/TCP", "80/tcp/udp", "+80", "80 ", "65536", "90-80",
    "0-5", "-5", "5-", "::1:80", "[::1]", "[::1]:", "[::1]::80", "[::1]:80:80", "localhost:80",
    "224.0.0.1:80", "255.255.255.255:80", "[::ffff:192.0.2.1]:80", "[fe80::1%lo]:80", "٨٠",
  ])
  func refusedWithItsText(_ text: String) {
    let error = #expect(throws: SpecError.self) { try ReservationSpec(text) }
    #expect(error?.text == text)
  }
}

/// Random numbers that are the same in every run, so that a failure can be had again.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    state = seed
  }

  /// splitmix64.
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}
