import Testing

@testable import portmap

/// Others' chains, each of which leads to the next one from many rules, and the last to the first: whoever followed
/// every way would not come to an end.
@Suite(.timeLimit(.minutes(1))) struct ForeignChainTests {
  private static let depth = 40
  private static let jumps = 20

  @Test func ofIPTables() throws {
    var text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j C0\n"
    for number in 0..<Self.depth {
      for _ in 0..<Self.jumps { text += "-A C\(number) -s 192.0.2.0/24 -j C\((number + 1) % Self.depth)\n" }
    }
    text += "-A C\(Self.depth - 1) -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 1\nCOMMIT\n"
    let rules = ForeignRules(saved: SavedRules(text), layout: ChainLayout(tag: ""))
    let mapping = try Samples.mapping("a0000001", "8080:80")
    let found = rules.taking(mapping, hook: "PREROUTING", before: "PORTMAP")
    let taking = "-p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 1"
    #expect(found == [ForeignRule(mapping: mapping, chain: "C39", text: taking)])
    #expect(found.map(\.problem) == ["a rule of somebody else's comes first: C39: \(taking)"])
  }

  @Test func ofNFTables() throws {
    func rule(_ chain: String, _ statements: String) -> String {
      #"{"rule":{"family":"inet","table":"t","chain":"\#(chain)","expr":[\#(statements)]}}"#
    }
    let unknown =
      #"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"192.0.2.9"}}"#
    let port = #"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":80}}"#
    var items = [
      #"""
      {"chain":{"family":"inet","table":"t","name":"c0","hook":"forward","prio":0,"policy":"accept"}}
      """#
    ]
    for number in 0..<Self.depth {
      let next = (number + 1) % Self.depth
      for _ in 0..<Self.jumps {
        items.append(rule("c\(number)", #"\#(unknown),{"jump":{"target":"c\#(next)"}}"#))
      }
    }
    let mapping = try Samples.mapping("a0000001", "8080:80")
    let dropping = NativeDrop(table: "inet t", chain: "c0", kind: .forwarded, traffic: [.mapping(mapping)])
    for (drop, expected) in [("", []), (rule("c\(Self.depth - 1)", "\(port),{\"drop\":null}"), [dropping])] {
      let all = items + (drop.isEmpty ? [] : [drop])
      let ruleset = try #require(NativeRuleset(Array("{\"nftables\":[\(all.joined(separator: ","))]}".utf8)))
      let traffic = NativeTraffic.all([mapping], bridges: []) { _ in nil }
      #expect(NativeTables.drops(in: ruleset, traffic) == expected)
    }
  }
}
