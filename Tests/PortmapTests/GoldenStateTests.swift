import Foundation
import Testing

@testable import portmap

/// State files as earlier versions have written them, which every later one must read (docs/state.md).
@Suite struct GoldenStateTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Fixtures/state-0.1.0")

  private func state(_ name: String) throws -> State {
    let data = try Data(contentsOf: Self.folder.appendingPathComponent("\(name).json"))
    var coder = StateCoder()
    let state = try coder.decode(data, path: name)
    // What is read of it is written so that it can be read again.
    #expect(try coder.decode(coder.encode(state), path: name) == state)
    var other = StateCoder()
    #expect(try coder.decode(other.encode(state), path: name) == state)
    return state
  }

  @Test func everythingThatCanBeHeld() throws {
    let state = try state("state")
    #expect(state.version == 1)
    #expect(state.bootID == "52f87755-894e-46b4-807c-bf0013141740")
    #expect(state.tag == nil)
    #expect(state.intent == nil)
    #expect(state.firewallVariant == "nf_tables")
    #expect(state.cursors == ["tcp": 49153])
    #expect(
      state.mappings.map(\.mapping.description) == [
        "8080->10.99.0.2:80", "8000-8010->10.99.0.2:9000-9010/udp", "[::]:8443->[fd00:99::2]:443",
        "127.0.0.1:8082->10.99.0.3:82", "0.0.0.0:8083->10.99.0.3:83", "8084->10.99.0.4:84",
        "8085->10.99.0.4:85", "8085->10.99.0.4:85/udp", "8086->172.16.42.4:86", "8087->172.16.42.3:87",
        "8088->10.99.0.2:88",
      ]
    )
    #expect(state.mappings.map(\.id).prefix(3) == ["e0f08399", "bc101354", "ab89416a"])
    #expect(
      state.mappings.map(\.delivery.proxy) == [
        true, true, true, true, true, true, false, false, true, true, true,
      ]
    )
    #expect(
      state.mappings.map(\.delivery.nat) == [
        true, true, true, false, false, true, true, true, true, true, true,
      ]
    )
    #expect(state.mappings.map(\.delivery.proxyProtocol).compactMap { $0 } == [.v2])
    #expect(state.mappings.filter(\.delivery.masquerade).map(\.hostPorts.first) == [8084])
    #expect(state.mappings.compactMap(\.scope).map(\.pid) == [17584])
    #expect(
      state.mappings[0].rules.map(\.text) == [
        "4 nat -A PORTMAP-TCP-31 -p tcp -m tcp --dport 8080 -m comment --comment \"portmap:e0f08399\" -j DNAT --to-destination 10.99.0.2:80",
        "6 filter -A PORTMAP-IN-TCP-31 -p tcp -m tcp --dport 8080 -m comment --comment \"portmap:e0f08399\" -j ACCEPT",
      ]
    )
    // Nothing was declared then.
    #expect(state.mappings.allSatisfy { $0.mapping.origin == nil && $0.mapping.tookOver == nil })
    #expect(
      state.reservations.allSatisfy { $0.origin == nil } && state.addresses.allSatisfy { $0.origin == nil }
    )
    #expect(state.failures.isEmpty)
    let reserved = state.reservations.map(\.reservation.description)
    #expect(reserved == ["8181", "8182", "8183/udp", "49153", "8184"])
    #expect(state.reservations.filter(\.isLent).map(\.port) == [8182])
    #expect(state.reservations.filter { $0.scope != nil }.map(\.port) == [8184])
    #expect(state.reservations.filter(\.holder.isEmpty).map(\.port) == [8184])
    #expect(state.holders.count == 14)
    #expect(state.holder("fbf4fe9f")?.process == ProcessIdentity(pid: 17332, startTime: 198914))
    #expect(state.addresses.map(\.ip.description) == ["172.16.42.2", "172.16.42.3", "172.16.42.4"])
    #expect(state.addresses.map(\.name) == ["web", "db", nil])
    #expect(state.addresses.map(\.link) == ["pm-b5a8aac7", nil, nil])
    #expect(state.addresses.map(\.isImplicit) == [false, false, true])
    #expect(state.bridges.map(\.name) == ["portmap0"])
    #expect(state.bridges[0].isOwn && state.bridges[0].rules.count == 4)
    #expect(state.bridges[0].freed.map(\.description) == ["172.16.42.5"])
    #expect(
      state.chains.map(\.place).contains(ChainPlace(family: .v6, table: .filter, name: "PORTMAP-IN-TCP-31"))
    )
    #expect(try state.shared.map(\.purpose).contains(.forwarding(to: Samples.address("10.99.0.2"))))
  }

  @Test func nothingLeft() throws {
    let state = try state("empty")
    #expect(state.isEmpty && state.chains.isEmpty && state.firewallVariant == nil)
    #expect(state.cursors == ["tcp": 49153])
  }

  /// What a command that was killed was about to do: map, unmap, alloc, alloc --netns, and a map that took over.
  @Test func intents() throws {
    let map = try #require(try state("intent-map").intent)
    #expect(map.change.rules.contains { $0.text.hasPrefix("4 nat -A PORTMAP-TCP-31 ") })
    #expect(map.holders.count == 1 && map.flows.count == 1 && map.firewallVariant == "nf_tables")
    let unmap = try #require(try state("intent-unmap").intent)
    #expect(unmap.change.chains.map(\.name).contains("PORTMAP-UDP-31") == false)
    #expect(unmap.change.chains.map(\.name).contains("PORTMAP-IN-UDP-31"))
    #expect(unmap.holders == ["a009569a"])
    #expect(try state("intent-alloc").intent == Removal(holders: ["f68706f1"]))
    #expect(try state("intent-netns").intent == Removal(links: ["pm-b1106194"]))
    let taken = [HoldingReference(holder: "e875b33a", id: "c6069458")]
    #expect(try state("intent-takeover").intent == Removal(holdings: taken))
  }
}
