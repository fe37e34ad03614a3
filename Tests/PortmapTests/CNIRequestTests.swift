import Testing

@testable import portmap

/// Previous results, and the mappings that come of them.
@Suite struct CNIRequestTests {
  private func configuration(_ version: String, _ result: String) throws -> CNIConfiguration {
    let text = #"{"cniVersion":"\#(version)","name":"net","prevResult":\#(result)}"#
    let body = try JSONText.object(Array(text.utf8))
    return try CNIConfiguration(body, CNIConfiguration.version(of: body), for: .add)
  }

  private func result(_ version: String, _ result: String) throws -> CNIResult {
    try #require(try CNIResult(configuration(version, result)))
  }

  private func addresses(_ version: String, _ text: String) throws -> [String] {
    try result(version, text).addresses(of: "eth0").values.map(\.description).sorted()
  }

  @Test func unchangedInTheConfigurationsVersion() throws {
    let text =
      #"{ "ips" : [ {"address":"10.1.0.5/16","x":1e400,"y":"\u00e4"} ], "cniVersion":"1.0.0","z":{} }"#
    #expect(
      try result("1.1.0", text).text
        == #"{"cniVersion":"1.1.0","ips":[ {"address":"10.1.0.5/16","x":1e400,"y":"\u00e4"} ],"z":{}}"# + "\n"
    )
    #expect(
      try result("0.2.0", #"{"ip4":{"ip":"10.1.0.5/16"}}"#).text.hasPrefix(#"{"cniVersion":"0.2.0","ip4""#)
    )
    #expect(throws: CNIError.self) { try result("0.4.0", #"{"cniVersion":"0.2.0"}"#) }
    #expect(throws: CNIError.self) { try result("1.0.0", "[]") }
    #expect(try CNIResult(configuration("1.0.0", "null")) == nil)
  }

  @Test func theFirstOfEachFamilyOnTheInterface() throws {
    let interfaces =
      #""interfaces":[{"name":"cni0"},{"name":"eth0","sandbox":"/n"},{"name":"eth1","sandbox":"/n"},{"name":"eth0"}]"#
    func ips(_ list: String) -> String { #"{\#(interfaces),"ips":[\#(list)]}"# }
    let host = #"{"address":"10.0.0.1/8","interface":0}"#
    let other = #"{"address":"10.0.0.2/8","interface":2}"#
    let outside = #"{"address":"10.0.0.3/8","interface":3}"#
    let first = #"{"address":"10.0.0.4/8","interface":1,"version":"4"}"#
    let second = #"{"address":"10.0.0.5/8","interface":1}"#
    let six = #"{"address":"fd00::6/64","interface":1}"#
    #expect(
      try addresses("1.0.0", ips([host, other, outside, first, second, six].joined(separator: ","))) == [
        "10.0.0.4", "fd00::6",
      ]
    )
    #expect(try addresses("0.3.1", ips(#"{"version":"4","address":"10.0.0.7/8"}"#)) == ["10.0.0.7"])
    #expect(try addresses("1.0.0", ips(#"{"address":"10.0.0.8/8","interface":99}"#)) == ["10.0.0.8"])
    #expect(
      try addresses("0.1.0", #"{"ip4":{"ip":"10.1.0.5/16"},"ip6":{"ip":"fd00::5/64"}}"#) == [
        "10.1.0.5", "fd00::5",
      ]
    )
    #expect(try addresses("1.0.0", "{}").isEmpty)
    for wrong in ["x", "127.0.0.1/8", "0.0.0.0/0", "/16", "224.0.0.1/4"] {
      #expect(throws: CNIError.self) { try addresses("1.0.0", ips(#"{"address":"\#(wrong)"}"#)) }
    }
  }

  // MARK: mappings

  private let v4 = IPAddress(v4: 0x0A01_0005)
  private let v6 = IPAddress(v6: 5)

  /// Each mapping as `list` would show it, and how it is delivered.
  private func mappings(
    _ entries: [(host: String, port: Int, to: Int)],
    _ rest: String = "",
    backends: [IPAddress.Family: IPAddress]? = nil,
    isReserved: Bool = true
  ) throws -> [String] {
    let list = entries.map { #"{"hostIP":"\#($0.host)","hostPort":\#($0.port),"containerPort":\#($0.to)}"# }
    let text = #"{\#(rest)"runtimeConfig":{"portMappings":[\#(list.joined(separator: ","))]}}"#
    let settings = try PortSettings(JSONText(Array(text.utf8)))
    let ports = try AttachmentPorts(settings, to: backends ?? [.v4: v4], isReserved: isReserved)
    return ports.wanted.map { one in
      let words = [
        (one.delivery.nat, "nat"), (one.delivery.proxy, "proxy"), (one.delivery.masquerade, "masquerade"),
      ]
      let way = words.filter(\.0).map(\.1) + (one.delivery.hairpin ? [] : ["nohairpin"])
      return "\(one.pair) \(way.joined(separator: ","))"
        + (one.conditions.isEmpty ? "" : " if \(one.conditions.joined(separator: " "))")
    }
  }

  @Test func families() throws {
    let port = [("", 8080, 80)]
    #expect(try mappings(port) == ["8080->10.1.0.5:80 nat,proxy"])
    #expect(try mappings(port, backends: [.v6: v6]) == ["8080->[::5]:80 nat,proxy"])
    #expect(
      try mappings(port, backends: [.v4: v4, .v6: v6])
        == ["0.0.0.0:8080->10.1.0.5:80 nat,proxy", "[::]:8080->[::5]:80 nat,proxy"]
    )
    #expect(try mappings([("::", 8080, 80)]) == ["[::]:8080->10.1.0.5:80 proxy"])
    #expect(
      try mappings([("::", 8080, 80)], backends: [.v4: v4, .v6: v6]) == ["[::]:8080->[::5]:80 nat,proxy"]
    )
    #expect(try mappings([("127.0.0.1", 8080, 80)]) == ["127.0.0.1:8080->10.1.0.5:80 proxy"])
    #expect(throws: CNIError.self) { try mappings(port, backends: [:]) }
  }

  @Test func runsAreOneMapping() throws {
    let range = (0..<5).map { ("", 8000 + $0, 9000 + $0) }
    #expect(try mappings(range.reversed()) == ["8000-8004->10.1.0.5:9000-9004 nat,proxy"])
    #expect(
      try mappings([("", 1, 80), ("", 2, 80), ("", 3, 81), ("192.0.2.1", 4, 82)])
        == [
          "1->10.1.0.5:80 nat,proxy", "2-3->10.1.0.5:80-81 nat,proxy", "192.0.2.1:4->10.1.0.5:82 nat,proxy",
        ]
    )
  }

  @Test func repetitionsAndContradictions() throws {
    #expect(try mappings([("", 80, 80), ("", 80, 80)]) == ["80->10.1.0.5:80 nat,proxy"])
    #expect(try mappings([("127.0.0.1", 80, 80), ("", 80, 80)]) == ["80->10.1.0.5:80 nat,proxy"])
    #expect(try mappings([("", 80, 80), ("::1", 80, 80)]) == ["80->10.1.0.5:80 nat,proxy"])
    #expect(try mappings([("127.0.0.1", 80, 80), ("192.0.2.1", 80, 81)]).count == 2)
    #expect(throws: CNIError.self) { try mappings([("", 80, 80), ("", 80, 81)]) }
    #expect(throws: CNIError.self) { try mappings([("127.0.0.1", 80, 80), ("0.0.0.0", 80, 81)]) }
  }

  @Test func sourceAddresses() throws {
    let port = [("", 8080, 80)]
    #expect(try mappings(port, #""snat":false,"#) == ["8080->10.1.0.5:80 nat,proxy,nohairpin"])
    #expect(try mappings(port, #""masqAll":true,"#) == ["8080->10.1.0.5:80 nat,proxy,masquerade"])
    #expect(try mappings(port, #""masqAll":true,"snat":false,"#) == ["8080->10.1.0.5:80 nat,proxy,nohairpin"])
  }

  @Test func conditionsLeaveOutTheProxy() throws {
    let conditions = #""conditionsV4":["!","-s","192.0.2.0/24"],"#
    #expect(try mappings([("", 8080, 80)], conditions) == ["8080->10.1.0.5:80 nat if ! -s 192.0.2.0/24"])
    #expect(
      try mappings([("", 8080, 80)], conditions, backends: [.v4: v4, .v6: v6])
        == ["0.0.0.0:8080->10.1.0.5:80 nat if ! -s 192.0.2.0/24", "[::]:8080->[::5]:80 nat,proxy"]
    )
    #expect(try mappings([("::", 8080, 80)], conditions).isEmpty, "as the original plugin passes over it")
    #expect(throws: CNIError.self) { try mappings([("127.0.0.1", 8080, 80)], conditions) }
  }

  @Test func withoutReservationThereAreRulesAlone() throws {
    #expect(try mappings([("", 8080, 80)], isReserved: false) == ["8080->10.1.0.5:80 nat"])
    #expect(try mappings([("127.0.0.1", 8080, 80)], isReserved: false) == ["127.0.0.1:8080->10.1.0.5:80 "])
    #expect(try mappings([("::", 8080, 80)], isReserved: false).isEmpty)
  }

  // MARK: records

  @Test func attachmentsAsOrigins() throws {
    let attachment = Attachment(network: "net", container: "4f3c", interface: "eth0")
    #expect(attachment.origin.text == "cni:net/4f3c/eth0" && !attachment.origin.isLine)
    #expect("\(attachment.origin)" == "cni:net/4f3c/eth0")
    #expect(Attachment(attachment.origin) == attachment)
    #expect(Attachment(Origin(name: "/etc/portmap.conf", line: 3)) == nil)
    let odd = Attachment(network: "n", container: "c", interface: "a|%é")
    let origin = try #require(Origin(text: odd.origin.text))
    #expect(Attachment(origin) == odd && !odd.origin.text.contains("|"))
  }

  @Test func recordsKeepThem() throws {
    var record = try Samples.record("a0000001", "8080:80", proxy: false)
    record.holder = ""
    record.mapping.origin = Attachment(network: "net", container: "4f3c", interface: "eth0").origin
    #expect(record.text.contains(" - 0 active nat from=cni:net/4f3c/eth0|"))
    #expect(MappingRecord(text: record.text) == record)
    let text = record.text.replacing("eth0|", with: "eth0 nohairpin|")
    let other = try #require(MappingRecord(text: text))
    #expect(!other.mapping.delivery.hairpin && other.text == text)
    #expect(other.sharedPurposes == [.transit(to: IPAddress(v4: 0x0A00_0002))])
    #expect(SharedPurpose(text: "transit 10.0.0.2") == other.sharedPurposes[0])
    let line = "cni:net/4f3c/eth0 /run/netns/a%20b 4:4026532000"
    let attached = try #require(AttachmentRecord(text: line))
    #expect(attached.path == "/run/netns/a b" && attached.text == line && attached.isGone)
  }

  @Test func whatTheOriginalPluginHasMade() throws {
    let attachment = Attachment(network: "dbnet", container: "4f3c", interface: "eth0")
    let printed = #"""
      -N CNI-HOSTPORT-DNAT
      -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"dbnet\" id: \"4f3c\"" -m multiport --dports 8080 -j CNI-DN-aaaa
      -A CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"dbnet\" id: \"4f3c\"" -m multiport --dports 53 -j CNI-DN-aaaa
      -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"dbnet\" id: \"4f3c9\"" -m multiport --dports 81 -j CNI-DN-bbbb
      """#
    let rules = OriginalPlugin.Rules(printed, of: attachment, .v4)
    #expect(
      rules.removal == #"""
        *nat
        -D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"dbnet\" id: \"4f3c\"" -m multiport --dports 8080 -j CNI-DN-aaaa
        -D CNI-HOSTPORT-DNAT -p udp -m comment --comment "dnat name: \"dbnet\" id: \"4f3c\"" -m multiport --dports 53 -j CNI-DN-aaaa
        -F CNI-DN-aaaa
        -X CNI-DN-aaaa
        COMMIT

        """#
    )
    let other = Attachment(network: "dbnet", container: "none", interface: "eth0")
    #expect(OriginalPlugin.Rules(printed, of: other, .v4).removal.isEmpty)
  }
}
