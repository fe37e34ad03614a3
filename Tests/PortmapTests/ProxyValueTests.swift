import Testing

@testable import portmap

@Suite struct ProxyHeaderTests {
  private func address(_ ip: String, _ port: UInt16) throws -> SocketAddress {
    SocketAddress(try #require(IPAddress(ip)), port: port)
  }

  @Test(arguments: [
    ("192.0.2.1", "198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 40000 80\r\n"),
    ("::ffff:192.0.2.1", "::ffff:198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 40000 80\r\n"),
    ("2001:db8::1", "::1", "PROXY TCP6 2001:db8::1 ::1 40000 80\r\n"),
  ])
  func text(client: String, server: String, expected: String) throws {
    let header = ProxyHeader.encode(
      .v1,
      client: try address(client, 40000),
      server: try address(server, 80)
    )
    #expect(String(decoding: header, as: UTF8.self) == expected)
  }

  private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10]

  @Test func binaryIPv4() throws {
    let header = ProxyHeader.encode(
      .v2,
      client: try address("::ffff:192.0.2.1", 40000),
      server: try address("::ffff:198.51.100.2", 80)
    )
    #expect(
      header == Self.signature + [0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0x9C, 0x40, 0, 80]
    )
  }

  @Test func binaryIPv6() throws {
    let header = ProxyHeader.encode(
      .v2,
      client: try address("2001:db8::1", 1),
      server: try address("::1", 65535)
    )
    let client: [UInt8] = [0x20, 1, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]
    let server = [UInt8](repeating: 0, count: 15) + [1]
    #expect(header == Self.signature + [0x21, 0x21, 0, 36] + client + server + [0, 1, 255, 255])
  }
}

@Suite struct DatagramRunTests {
  /// The runs that a sequence of received messages becomes, as (messages, datagrams, bytes, segment).
  private func runs(_ pieces: [(Int, Int)]) -> [[Int]] {
    var runs: [DatagramRun] = []
    for (length, segment) in pieces {
      let piece = DatagramPiece(length: length, segment: segment)
      if runs.isEmpty || !runs[runs.count - 1].append(piece) { runs.append(DatagramRun(piece)) }
    }
    return runs.map { [$0.pieces, $0.count, $0.length, $0.segment] }
  }

  @Test func equalSizesJoin() {
    #expect(runs([(100, 0), (100, 0), (100, 0)]) == [[3, 3, 300, 100]])
  }

  @Test func shorterOneEndsARun() {
    #expect(
      runs([(100, 0), (40, 0), (40, 0), (100, 0)]) == [[2, 2, 140, 100], [1, 1, 40, 40], [1, 1, 100, 100]]
    )
  }

  @Test func longerOneStartsARun() {
    #expect(runs([(100, 0), (101, 0)]) == [[1, 1, 100, 100], [1, 1, 101, 101]])
  }

  @Test func emptyOnesStandAlone() {
    #expect(
      runs([(0, 0), (0, 0), (5, 0), (0, 0)]) == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 5, 5], [1, 1, 0, 0]]
    )
  }

  @Test func segmentedMessagesJoinWhereTheyEndFull() {
    #expect(runs([(1000, 100), (500, 100), (50, 0)]) == [[3, 16, 1550, 100]])
    #expect(runs([(950, 100), (100, 0)]) == [[1, 10, 950, 100], [1, 1, 100, 100]])
    #expect(runs([(100, 0), (250, 100), (100, 0)]) == [[2, 4, 350, 100], [1, 1, 100, 100]])
  }

  /// A message cut into shorter datagrams is no tail of a run of longer ones.
  @Test func shorterSegmentsDoNotJoin() {
    #expect(runs([(100, 0), (80, 40)]) == [[1, 1, 100, 100], [1, 2, 80, 40]])
  }

  @Test func limitsOfTheKernel() {
    #expect(runs(Array(repeating: (10, 0), count: 65)) == [[64, 64, 640, 10], [1, 1, 10, 10]])
    #expect(
      runs(Array(repeating: (30_000, 0), count: 3)) == [[2, 2, 60_000, 30_000], [1, 1, 30_000, 30_000]]
    )
  }

  @Test func pieceCountsItsDatagrams() {
    #expect(DatagramPiece(length: 0, segment: 0).count == 1)
    #expect(DatagramPiece(length: 10, segment: 3).count == 4)
    #expect(!DatagramPiece(length: 10, segment: 3).isFull)
    #expect(DatagramPiece(length: 9, segment: 3).isFull)
  }
}

@Suite struct TimerQueueTests {
  @Test func fireInOrderAndOnlyWhenDue() {
    var queue = TimerQueue()
    var fired: [Int] = []
    #expect(queue.wait(now: 0) == -1)
    _ = queue.add(deadline: 30) { fired.append(3) }
    let cancelled = queue.add(deadline: 15) { fired.append(0) }
    _ = queue.add(deadline: 10) { fired.append(1) }
    _ = queue.add(deadline: 10) { fired.append(2) }
    queue.remove(cancelled)
    #expect(queue.wait(now: 4) == 6)
    while let body = queue.popDue(now: 20) { body() }
    #expect(fired == [1, 2])
    #expect(queue.wait(now: 50) == 0)
    while let body = queue.popDue(now: 50) { body() }
    #expect(fired == [1, 2, 3])
    #expect(queue.wait(now: 50) == -1)
  }
}

@Suite struct ProxyLimitsTests {
  @Test func aProcessTakesNoMoreThanItNeedsHoweverMuchItMayHave() {
    #expect(ProxyLimits(descriptors: 1_048_576).budget(sockets: 2) == 32_768)
    #expect(ProxyLimits(descriptors: 20_000).budget(sockets: 2) == 19_870)
    // Some are kept for commands.
    #expect(ProxyLimits(descriptors: 80).budget(sockets: 2) == 58)
    #expect(ProxyLimits(descriptors: 1064).budget(sockets: 1000) == 16)
  }
}

@Suite struct EphemeralPortsTests {
  private func ports(_ range: String, without reserved: String...) throws -> EphemeralPorts {
    let reserved = try reserved.map { try #require(PortRange($0[...])) }
    return EphemeralPorts(try #require(PortRange(range[...])), without: reserved)
  }

  @Test func reservedPortsAreNeverDrawn() throws {
    let ports = try ports("100-119", without: "110-112", "90-101", "111-113", "119-200", "300")
    #expect(ports.count == 13)
    let drawn = Set((0..<2000).compactMap { _ in ports.random() })
    #expect(drawn == Set(102...109).union(114...118))
  }

  @Test func theWholeRangeIsDrawnFrom() throws {
    #expect(try ports("65534-65535").count == 2)
    #expect(try ports("65535").random() == 65535)
    #expect(try ports("1-65535").count == 65535)
    #expect(try ports("100-110", without: "1-65535").random() == nil)
    #expect(LocalPorts.ephemeral() != nil)
  }
}

@Suite struct UDPPortsTests {
  /// The same numbers in every run (SplitMix64).
  private struct Generator: RandomNumberGenerator {
    private var state: UInt64 = 1

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = state
      value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
      return value ^ (value >> 31)
    }
  }

  /// Never more than this share of the ports is taken, whatever the number of processes that are flooded.
  @Test(arguments: [(UDPStanding.unanswered, 0.9), (.answered, 0.96), (.conversing, 0.98)])
  func floodsOfAnyNumberOfProcessesLeavePorts(_ standing: UDPStanding, limit: Double) {
    let ports = 2000
    var generator = Generator()
    for processes in [1, 2, 30, 300] {
      var clients = Array(repeating: 0, count: processes)
      var taken = 0
      for _ in 0..<(10 * ports) {
        let process = Int.random(in: 0..<processes, using: &generator)
        for draw in 1...32 {
          if Int.random(in: 0..<ports, using: &generator) >= taken {
            clients[process] += 1
            taken += 1
            break
          }
          let patience = UDPPorts.patience(with: standing, clients: clients[process], ports: ports)
          if draw.isMultiple(of: patience), clients[process] > 0 {
            clients[process] -= 1
            taken -= 1
          }
        }
        if taken > Int(limit * Double(ports)) { break }
      }
      #expect(taken <= Int(limit * Double(ports)), "\(processes) processes")
      #expect(taken > ports * 2 / 5)
    }
  }
}
