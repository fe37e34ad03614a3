import Foundation
import Testing

@testable import portmap

@Suite struct StateCodingTests {
  private static let path = "/run/portmap/state.json"

  private static func encode(_ state: State) throws -> Data {
    var coder = StateCoder()
    return try coder.encode(state)
  }

  private static func decode(_ data: Data, path: String) throws(StateError) -> State {
    var coder = StateCoder()
    return try coder.decode(data, path: path)
  }

  private func sample() throws -> State {
    var random = SeededGenerator(seed: 8)
    var state = State(netnsCookie: .max, bootID: "11111111-2222-3333-4444-555555555555")
    for number in 0..<20 {
      state.mappings.append(Samples.record(try Samples.mapping(number: number, using: &random)))
    }
    state.mappings[3].status = .broken
    state.mappings[4].mapping.into = GuestNamespace(text: "4026532201@199025:4711")
    state.mappings[5].mapping.into = GuestNamespace(text: "4026532201:/run/a%20b%7cc")
    state.netnsInode = 4_026_531_840
    state.cursors = ["tcp": 49200, "udp": 65535]
    state.firewallVariant = "nf_tables"
    state.saidNoIPv6 = true
    state.serial = 7
    let subnet = try Samples.subnet("172.16.42.1/24")
    let ip = try Samples.address("172.16.42.2")
    var bridge = BridgeRecord(name: "portmap0", subnet: subnet, isOwn: true)
    bridge.rules = ChainLayout(tag: "").rules(forBridge: "portmap0", subnet)
    bridge.cursor = ip
    bridge.freed = [try Samples.address("172.16.42.9"), try Samples.address("172.16.42.3")]
    state.bridges = [bridge]
    state.addresses = [
      AllocatedAddress(ip: ip, bridge: "portmap0", name: "web", link: "pm-a0000001"),
      AllocatedAddress(ip: try Samples.address("172.16.42.4"), bridge: "portmap0", isImplicit: true),
    ]
    state.reservations = [
      ReservationRecord(
        reservation: Reservation(id: "b0000001", transport: .sctp, hostIP: .every, port: 1, isLent: true),
        holder: "c0000001"
      )
    ]
    let process = try #require(ProcessIdentity(pid: getpid()))
    state.mappings.append(
      Samples.record(try Samples.mapping("a00000ff", "9:9", proxyProtocol: .v2, scope: process))
    )
    state.holders = [HolderRecord(id: "c0000001", process: process)]
    let change = RuleChange.adding(state.rules, to: [], ChainLayout(tag: ""), serial: 1)
    state.chains = change.chains
    state.shared = [
      SharedRules(purpose: .replies(from: ip), rules: ChainLayout(tag: "").replies(from: ip), serial: 1)
    ]
    state.intent = Removal(
      change: change,
      holders: ["c0000001"],
      holdings: [HoldingReference(holder: "c0000001", id: "a0000001")],
      links: ["portmap0"],
      flows: [FlowFilter(transport: .udp, hostIP: .one(ip), first: 1, last: 65535)],
      restored: [HoldingReference(holder: "c0000001", id: "b0000001")],
      connections: [ConnectPorts(.anyV4, try #require(PortRange(first: 8000, last: 8010)))]
    )
    state.mappings[0].mapping.delivery.connect = true
    state.waiting = [Removal(holders: ["c0000002"]), Removal(links: ["pm-a0000009"])]
    state.rulesGeneration = 4711
    state.tag = "3fa9c1"
    return state
  }

  @Test func roundTrip() throws {
    let state = try sample()
    #expect(try Self.decode(Self.encode(state), path: Self.path) == state)
    let fresh = State(netnsCookie: 0, bootID: "")
    #expect(try Self.decode(Self.encode(fresh), path: Self.path) == fresh)
  }

  /// The text that is kept of one state is never taken for another's.
  @Test func oneCoderForManyStates() throws {
    var coder = StateCoder()
    var state = try sample()
    let intent = state.intent
    for round in 0..<4 {
      for intent in [intent, nil, Removal(links: ["pm-\(round)"]), nil] {
        state.intent = intent
        let data = try coder.encode(state)
        #expect(try Self.decode(data, path: Self.path) == state)
        #expect(try coder.decode(data, path: Self.path) == state)
        #expect(try coder.encode(state) == Self.encode(state))
      }
      state.mappings[round].status = .broken
    }
  }

  /// Written by hand, an intent that is null must not stand before a real one.
  @Test(arguments: ["{\"intent\":null,", "{ \"intent\" : null ,", "{\"int\\u0065nt\":null,"])
  func nullForAnIntent(start: String) throws {
    var state = try sample()
    let intent = state.intent
    state.intent = nil
    var coder = StateCoder()
    let text = start + String(decoding: try Self.encode(state), as: UTF8.self).dropFirst()
    #expect(try coder.decode(Data(text.utf8), path: Self.path) == state)
    state.intent = intent
    #expect(try Self.decode(coder.encode(state), path: Self.path) == state)
  }

  @Test func sameStateSameBytes() throws {
    let state = try sample()
    #expect(try Self.encode(state) == Self.encode(state))
  }

  private func refusal(_ bytes: [UInt8]) -> StateError? {
    #expect(throws: StateError.self) { try Self.decode(Data(bytes), path: Self.path) }
  }

  @Test func everyTruncationIsRefusedWithThePath() throws {
    let bytes = Array(try Self.encode(sample()))
    for length in [0, 1, 2, 10] + stride(from: 100, to: bytes.count, by: 997) + [bytes.count - 1] {
      #expect(refusal(Array(bytes[..<length]))?.path == Self.path, "\(length) bytes")
    }
    #expect(refusal([])?.problem == "it is empty")
  }

  @Test(arguments: [
    " ", "null", "[]", "{}", "0", "{\"version\":1}", "{\"version\":\"1\"}", "junk", "\u{FEFF}",
    "{\"version\":1,\"netnsCookie\":-1,\"bootID\":\"\"}",
  ])
  func damageIsRefusedWithThePath(_ text: String) {
    let error = refusal(Array(text.utf8))
    #expect(error?.path == Self.path)
    #expect(error?.problem.isEmpty == false)
  }

  /// One wrong value anywhere, and the whole is refused.
  @Test(arguments: [
    (" tcp ", " TCP "), ("10.0.0.2", "10.0.0.256"), ("172.16.42.1/24", "172.16.42.1/33"),
    ("4 nat -A", "4 nat -D"), (" active", " idle"), ("\"mappings\":", "\"mapping\":"),
    (" nat proxy", " proxy nat"), ("\"isOwn\":true", "\"isOwn\":1"), (" 1 c0000001", " 0 c0000001"),
    ("c0000001 ", "c0000001  "), ("\"3fa9c1\"", "\"3fa9c1-\""), ("\"3fa9c1\"", "3"),
  ])
  func wrongValuesAreRefused(good: String, bad: String) throws {
    let text = String(decoding: try Self.encode(sample()), as: UTF8.self)
    let damaged = text.replacingOccurrences(of: good, with: bad)
    try #require(damaged != text)
    #expect(refusal(Array(damaged.utf8))?.path == Self.path)
  }

  @Test func invalidUTF8IsRefused() throws {
    var bytes = Array(try Self.encode(sample()))
    bytes[bytes.count / 2] = 0xFF
    #expect(refusal(bytes)?.path == Self.path)
  }

  /// Whatever else a newer version may have changed, the file is recognised as one.
  @Test(arguments: ["{\"version\":2}", "{\"version\":99,\"mappings\":{\"by\":\"port\"}}"])
  func newerVersionIsNamed(_ text: String) {
    let error = refusal(Array(text.utf8))
    #expect(error?.path == Self.path)
    #expect(error?.problem.contains("version") == true)
    #expect(error?.problem.contains("damaged") == false)
  }

  /// A newer version that this one could read by its form is refused all the same: it may mean something else by it.
  @Test func newerVersionOfTheSameForm() throws {
    var state = try sample()
    state.version = State.currentVersion + 1
    let bytes = Array(try Self.encode(state))
    #expect(refusal(bytes)?.path == Self.path)
  }
}
