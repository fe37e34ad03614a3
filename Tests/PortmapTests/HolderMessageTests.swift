import Glibc
import Testing

@testable import portmap

/// The control protocol of the background process, and the holdings in it.
@Suite struct HolderMessageTests {
  private func holdings() throws -> [Holding] {
    var random = SeededGenerator(seed: 9)
    return try (0..<40).map { number in
      let mapping = try Samples.mapping(number: number, using: &random)
      if number.isMultiple(of: 3) {
        return .reservation(
          Reservation(
            id: mapping.id,
            transport: mapping.transport,
            hostIP: mapping.hostIP,
            port: mapping.hostPorts.first,
            isLent: .random(using: &random)
          )
        )
      }
      let delivery = Delivery(
        rules: .random(using: &random),
        nat: .random(using: &random),
        proxy: .random(using: &random),
        masquerade: .random(using: &random),
        proxyProtocol: [nil, .v1, .v2].randomElement(using: &random) ?? nil
      )
      return .mapping(Mapping(id: mapping.id, pair: mapping.pair, delivery: delivery))
    }
  }

  private func messages() throws -> [HolderMessage] {
    let holdings = try holdings()
    let path = try #require(NamespaceName("/" + String(repeating: "n", count: 4000)))
    let guests = [
      GuestNamespace(name: path, identity: NamespaceIdentity(inode: .max, startTime: 1)),
      try #require(GuestNamespace(text: "4026532201:web")),
    ]
    let parts = holdings.map { HolderMessage.Part(holding: $0, offset: $0.ports.first, count: 253) }
    return [
      .hold(parts), .hold([]), .begin, .take(id: "a0000001"), .release(ids: holdings.map(\.id)),
      .release(ids: []), .describe, .done, .sockets(remaining: 0), .sockets(remaining: .max),
      .described(holdings),
      .described([]), .locate, .located(cookie: .max), .refused(nil), .refused(.notHeld),
      .refused(Refusal(rawValue: 200)),
      .count, .counted(remaining: 0, []), .counted(remaining: .max, try counts()),
      .failed(SystemError(call: "listen", errno: EADDRINUSE)), .failed(SystemError(call: "", errno: -1)),
      .askForEntered,
    ] + guests.flatMap { [.enter($0), .entered($0)] }
  }

  private func counts() throws -> [HoldingCount] {
    try holdings().enumerated().map { number, holding in
      let number = UInt64(number)
      let count = ProxyCount(
        clients: number,
        open: number % 3,
        bytesIn: .max - number,
        bytesOut: number << 32,
        failed: number,
        lastFailure: number % 2 == 0 ? nil : ProxyFailure(errno: ECONNREFUSED, time: 1_795_000_000)
      )
      return HoldingCount(id: holding.id, count: count)
    }
  }

  @Test func roundTrip() throws {
    for message in try messages() { #expect(HolderMessage(message.bytes) == message) }
  }

  /// The messages of version 0.1.0, whose processes may still run: they are read, and written, as they were then.
  @Test(arguments: [
    "0102", "0105", "0180", "0183", "018100000102", "0182", "01036131623263336434",
    "010461316232633364346231623263336434",
    // 127.0.0.1:9000 of tcp, reserved and lent.
    "0182613162326333643400040000000000000000000000007f0000012328232801000000000000000000000000000000000000000000000000",
    // *:8080-8081 of udp to 10.99.0.2:80-81, with rules and proxy, two sockets from the first port on.
    "010161316232633364340100000000000000000000000000000000001f901f9100040000000000000000000000000a6300020050010101000000000002",
  ])
  func messagesOfTheFirstVersion(_ hexadecimal: String) throws {
    let digits = Array(hexadecimal)
    let bytes = try stride(from: 0, to: digits.count, by: 2).map {
      try #require(UInt8(String(digits[$0...$0 + 1]), radix: 16))
    }
    let message = try #require(HolderMessage(bytes))
    #expect(message.bytes == bytes)
    switch message {
    case .described(let holdings) where !holdings.isEmpty:
      #expect(holdings.map(\.id) == ["a1b2c3d4"] && holdings[0].isLent)
      #expect(holdings[0].transport == .tcp && holdings[0].ports.first == 9000)
    case .hold(let parts):
      #expect(parts.map(\.holding.ports) == [try #require(PortRange(first: 8080, last: 8081))])
      #expect(parts[0].holding.hostIP == .every && parts[0].holding.transport == .udp && parts[0].count == 2)
    default: break
    }
  }

  /// What a later version may send to a process of this one, and understands from it: byte by byte.
  @Test func messageOfCounts() throws {
    #expect(HolderMessage.count.bytes == [1, 9])
    let count = ProxyCount(
      clients: 3,
      open: 1,
      bytesIn: 258,
      bytesOut: 65_536,
      failed: 2,
      lastFailure: ProxyFailure(errno: 111, time: 0x6AFD_5E80)
    )
    let message = HolderMessage.counted(remaining: 5, [HoldingCount(id: "a1b2c3d4", count: count)])
    let expected: [UInt8] =
      [1, 136, 0, 0, 0, 5] + Array("a1b2c3d4".utf8) + [0, 0, 0, 0, 0, 0, 0, 3] + [0, 0, 0, 0, 0, 0, 0, 1]
      + [0, 0, 0, 0, 0, 0, 1, 2] + [0, 0, 0, 0, 0, 1, 0, 0] + [0, 0, 0, 0, 0, 0, 0, 2] + [0, 0, 0, 111]
      + [0, 0, 0, 0, 0x6A, 0xFD, 0x5E, 0x80]
    #expect(message.bytes == expected)
    #expect(HolderMessage(expected) == message)
    // A time without a reason makes no sense.
    #expect(HolderMessage(expected.dropLast(12) + [0, 0, 0, 0] + expected.suffix(8)) == nil)
  }

  @Test func aReasonIsCutAndNotRefused() {
    let long = SystemError(call: String(repeating: "x", count: 1000), errno: ENOMEM)
    guard case .failed(let error)? = HolderMessage(HolderMessage.failed(long).bytes) else {
      Issue.record("it is no message any more")
      return
    }
    #expect(error.errno == ENOMEM && error.call == String(repeating: "x", count: 255))
  }

  @Test func otherVersionsAndKindsAreRefused() throws {
    for message in try messages() {
      var bytes = message.bytes
      bytes[0] = HolderMessage.version + 1
      #expect(HolderMessage(bytes) == nil)
    }
    for kind: UInt8 in [0, 7, 127, 132, 133, 134, 135, 136, 255] {
      #expect(HolderMessage([HolderMessage.version, kind]) == nil)
    }
    #expect(HolderMessage([]) == nil)
    #expect(HolderMessage([HolderMessage.version]) == nil)
  }

  @Test func moreOrLessThanAMessageIsRefused() throws {
    for message in try messages() {
      let bytes = message.bytes
      if case .failed = message {} else { #expect(HolderMessage(bytes + [0]) == nil) }
      // What is cut between two entries of a list is a shorter list.
      guard let cut = HolderMessage(Array(bytes.dropLast())) else { continue }
      // Neither is a text an error that ends earlier.
      if case .failed = message { continue }
      Issue.record("\(cut) from \(message) without its last byte")
    }
  }

  @Test func junkIsRefusedOrReadButNeverFatal() throws {
    var random = SeededGenerator(seed: 10)
    let messages = try messages().map(\.bytes)
    for _ in 0..<5000 {
      var bytes = try #require(messages.randomElement(using: &random))
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random)
      }
      bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
      if let message = HolderMessage(bytes) { #expect(!message.bytes.isEmpty) }
    }
  }

  @Test func longestMessagesFit() throws {
    let holding = try #require(try holdings().first { $0.isProxied })
    let part = HolderMessage.Part(holding: holding, offset: 0, count: 1)
    let many = Array(repeating: part, count: UnixSocket.descriptorsPerMessage)
    #expect(HolderMessage.hold(many).bytes.count <= UnixSocket.longestMessage)
    let described = HolderMessage.described(
      Array(repeating: holding, count: HolderMessage.holdingsPerMessage)
    )
    #expect(described.bytes.count <= UnixSocket.longestMessage)
    let count = try #require(try counts().last)
    let counted = HolderMessage.counted(
      remaining: 0,
      Array(repeating: count, count: HolderMessage.holdingsPerMessage)
    )
    #expect(counted.bytes.count <= UnixSocket.longestMessage)
  }

  @Test func rangesAreChecked() throws {
    let holding = try #require(try holdings().first)
    var writer = ByteWriter()
    holding.encode(to: &writer)
    // The ports stand behind id (8), transport (1) and address (17).
    var bytes = writer.bytes
    bytes.replaceSubrange(26..<30, with: [0, 2, 0, 1])
    var reader = ByteReader(bytes[...])
    #expect(Holding(from: &reader) == nil)
  }
}

@Suite struct ByteCodingTests {
  @Test func numbersInNetworkOrder() {
    var writer = ByteWriter()
    writer.put(UInt16(0x0102))
    writer.put(UInt32(0x0304_0506))
    writer.put(true)
    writer.put(id: "a1b2c3d4")
    #expect(writer.bytes == [1, 2, 3, 4, 5, 6, 1] + Array("a1b2c3d4".utf8))
    var reader = ByteReader(writer.bytes[...])
    #expect(reader.number(UInt16.self) == 0x0102)
    #expect(reader.number(UInt32.self) == 0x0304_0506)
    #expect(reader.flag() == true)
    #expect(reader.id() == "a1b2c3d4")
    #expect(reader.isAtEnd)
    #expect(reader.number(UInt8.self) == nil)
    #expect(reader.id() == nil)
    #expect(reader.address() == nil)
  }

  @Test(arguments: ["192.0.2.1", "::", "2001:db8::1", "255.255.255.255"])
  func addresses(_ text: String) throws {
    var writer = ByteWriter()
    writer.put(try Samples.address(text))
    writer.put(nil as IPAddress?)
    var reader = ByteReader(writer.bytes[...])
    #expect(reader.address() == .some(try Samples.address(text)))
    #expect(reader.address() == .some(nil))
    #expect(reader.isAtEnd)
  }
}
