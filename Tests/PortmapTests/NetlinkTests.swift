import CLinux
import Glibc
import Testing

@testable import portmap

@Suite struct NetlinkTests {
  /// A message with its header; what it carries is given in full.
  private func message(_ type: Int32, sequence: UInt32 = 7, _ payload: [UInt8]) -> [UInt8] {
    let header = nlmsghdr(
      nlmsg_len: UInt32(MemoryLayout<nlmsghdr>.size + payload.count),
      nlmsg_type: UInt16(type),
      nlmsg_flags: 2,
      nlmsg_seq: sequence,
      nlmsg_pid: 0
    )
    let padding = [UInt8](repeating: 0, count: (4 - payload.count % 4) % 4)
    return withUnsafeBytes(of: header) { Array($0) } + payload + padding
  }

  /// What the kernel tells of a flow from 192.0.2.9:7777 to 192.0.2.1:8080, zone and id included.
  private static let flow: [UInt8] = [
    2, 0, 0, 0,
    0x34, 0, 1, 0x80,
    0x14, 0, 1, 0x80, 8, 0, 1, 0, 192, 0, 2, 9, 8, 0, 2, 0, 192, 0, 2, 1,
    0x1C, 0, 2, 0x80, 5, 0, 1, 0, 17, 0, 0, 0, 6, 0, 2, 0, 0x1E, 0x61, 0, 0, 6, 0, 3, 0, 0x1F, 0x90, 0, 0,
    8, 0, 3, 0, 0, 0, 1, 0xA8,
    6, 0, 18, 0, 0, 5, 0, 0,
    8, 0, 12, 0, 0x99, 0x16, 0x91, 0xE6,
  ]

  private func read(_ bytes: [UInt8]) -> [NetlinkMessage] { Array(NetlinkMessages(bytes[...])) }

  @Test func messagesOneBehindTheOther() {
    let all = read(message(256, [1, 2, 3]) + message(2, sequence: 8, [0, 0, 0, 0]) + message(3, []))
    #expect(all.map(\.type) == [256, 2, 3])
    #expect(all.map(\.sequence) == [7, 8, 7])
    #expect(all.map { Array($0.payload) } == [[1, 2, 3], [0, 0, 0, 0], []])
    #expect(all[0].flags == 2)
    #expect(all.map(\.errno) == [nil, 0, nil])
  }

  @Test(arguments: [(0, 0), (-EPERM, EPERM), (EPERM, EPERM), (Int32.min, EPROTO)])
  func errorNumbers(sent: Int32, errno: Int32) {
    let bytes = withUnsafeBytes(of: sent) { Array($0) }
    #expect(read(message(NLMSG_ERROR, bytes)).map(\.errno) == [errno])
  }

  /// A header that promises more or less than there is ends the list, and no byte of it is read.
  @Test func lengthsThatLie() {
    let good = message(256, [])
    for length in [0, 1, 15, 17, 1 << 20, Int(UInt32.max)] {
      var bad = good
      withUnsafeBytes(of: UInt32(length)) { bad.replaceSubrange(0..<4, with: $0) }
      #expect(read(good + bad).count == 1)
    }
    #expect(read(good + good.dropLast()).count == 1)
    #expect(read([]).isEmpty)
  }

  @Test func attributesWithinAttributes() throws {
    let message = try #require(read(message(256, Self.flow)).first)
    #expect(message.family == UInt8(AF_INET))
    #expect(message.attributes.map(\.type) == [1, 3, 18, 12])
    let tuple = message.attributes.nested(CTA_TUPLE_ORIG)
    #expect(tuple.map(\.type) == [1, 2])
    #expect(tuple.nested(CTA_TUPLE_PROTO).number(CTA_PROTO_DST_PORT, UInt16.self) == 8080)
    #expect(message.attributes.number(CTA_ZONE, UInt16.self) == 5)
    // Of another size than was asked for, or not there.
    #expect(message.attributes.number(CTA_ZONE, UInt32.self) == nil)
    #expect(message.attributes.number(CTA_MARK, UInt32.self) == nil)
    #expect(Array(message.attributes.nested(CTA_HELP)).isEmpty)
  }

  @Test func attributeLengthsThatLie() {
    let good: [UInt8] = [8, 0, 1, 0, 1, 2, 3, 4]
    for bad: [UInt8] in [[0, 0, 1, 0], [3, 0, 1, 0], [5, 0, 1, 0], [255, 255, 1, 0], [4, 0, 1]] {
      #expect(NetlinkAttributes((good + bad)[...]).map(\.type) == [1])
    }
    // The last one may go without padding.
    #expect(NetlinkAttributes([5, 0, 1, 0, 9][...]).map { Array($0.value) } == [[9]])
  }

  @Test func aFlow() throws {
    let flow = try #require(read(message(256, Self.flow)).first.flatMap { Flow($0) })
    let address = try Samples.address("192.0.2.1")
    #expect(flow == Flow(transport: .udp, destination: address, destinationPort: 8080))
  }

  @Test func aFlowOfIPv6() throws {
    let destination = try Samples.address("2001:db8::1")
    let addresses = [20, 0, 4, 0] + destination.bytes
    let ports: [UInt8] = [5, 0, 1, 0, 132, 0, 0, 0, 6, 0, 3, 0, 0, 80, 0, 0]
    let tuple = [24, 0, 1, 0x80] + addresses + [20, 0, 2, 0x80] + ports
    let payload = [10, 0, 0, 0, UInt8(tuple.count + 4), 0, 1, 0x80] + tuple
    let flow = try #require(read(message(256, payload)).first.flatMap { Flow($0) })
    #expect(flow == Flow(transport: .sctp, destination: destination, destinationPort: 80))
  }

  /// Cut anywhere, with every byte spoilt in turn: no flow, or one that can be deleted, but never an end of the program.
  @Test func spoiltFlows() {
    for count in Self.flow.indices {
      for part in read(message(256, Array(Self.flow[..<count]))) { _ = Flow(part) }
      for value: UInt8 in [0, 1, 0x7F, 0xFF] {
        var spoilt = Self.flow
        spoilt[count] = value
        for part in read(message(256, spoilt)) {
          let flow = Flow(part)
          var bytes: [UInt8] = []
          Flow.deletion(part).append(to: &bytes, sequence: 1, flags: 0)
          #expect(read(bytes).map { Flow($0) } == [flow])
        }
      }
    }
  }

  /// The tuple, the zone and the id go back as they came, so that a new flow with the same tuple is not hit.
  @Test func theDeletionOfAFlow() throws {
    let shown = try #require(read(message(256, Self.flow)).first)
    var bytes: [UInt8] = []
    Flow.deletion(shown).append(to: &bytes, sequence: 9, flags: UInt16(NLM_F_ACK))
    let sent = read(bytes)
    #expect(sent.count == 1 && bytes.count % 4 == 0)
    #expect(sent[0].type == UInt16(NFNL_SUBSYS_CTNETLINK << 8) | 2)
    #expect(sent[0].flags == UInt16(NLM_F_REQUEST | NLM_F_ACK))
    #expect(sent[0].sequence == 9)
    #expect(sent[0].family == UInt8(AF_INET))
    let left: [UInt8] = [0, 0, 0, 0] + Self.flow[4..<56] + Self.flow[64..<72] + Self.flow[72..<80]
    #expect(Array(sent[0].payload.dropFirst(4)) == Array(left.dropFirst(4)))
  }

  /// Attributes of odd length are padded, and requests follow each other in one send.
  @Test func requestsInOneSend() {
    let odd = NetlinkAttribute(type: 1, bytes: [5, 0, 1, 0, 9])
    let request = NetlinkRequest(subsystem: 1, message: 2, attributes: [odd, odd])
    var bytes: [UInt8] = []
    for sequence: UInt32 in 1...3 { request.append(to: &bytes, sequence: sequence, flags: 0) }
    let sent = read(bytes)
    #expect(sent.map(\.sequence) == [1, 2, 3])
    #expect(sent.allSatisfy { Array($0.attributes.map { Array($0.value) }) == [[9], [9]] })
  }

  @Test func dumps() {
    #expect(Flow.dump.isDump)
    #expect(!NetlinkRequest(subsystem: 1, message: 2, flags: UInt16(NLM_F_ROOT)).isDump)
  }
}

@Suite struct NFTablesGenerationTests {
  /// Asked twice: nothing is left of the first time.
  @Test func theKernelTellsWhoMayChangeRules() {
    let mayKnow = clinux_has_capability(CAP_NET_ADMIN) == 1
    for _ in 0..<2 { #expect((NFTablesGeneration.current() != nil) == mayKnow) }
  }
}
