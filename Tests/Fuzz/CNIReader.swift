import Foundation

extension Readers {
  /// A configuration of CNI's plugin: what comes of it is a failure with a code, or a result that is read as it was.
  static func cni(_ bytes: [UInt8]) {
    let body: JSONText
    do throws(CNIError) {
      body = try JSONText.object(bytes)
    } catch {
      return refused(error)
    }
    expect((try? JSONText(Array(body.bytes))) != nil, "JSON that is none when read again")
    for (key, value) in body.members {
      expect((try? JSONText(Array(value.bytes)))?.kind == value.kind, "a value of another kind")
      let quoted = (try? JSONText(Array(JSONText.quoted(key).utf8)))?.string
      expect(quoted == key, "another key when written again")
    }
    do {
      let version = try CNIConfiguration.version(of: body)
      for command in [CNICall.Command.add, .del, .check, .gc, .status] where version.knows(command) {
        _ = try CNIConfiguration(body, version, for: command)
      }
      try read(CNIConfiguration(body, version, for: .add))
    } catch {
      refused(CNIError(error))
    }
  }

  private static func read(_ configuration: CNIConfiguration) throws {
    let settings = try PortSettings(configuration.body)
    if let result = try CNIResult(configuration) {
      let text = result.text
      let again = try JSONText.object(Array(text.utf8))
      expect(again["cniVersion"]?.string == configuration.version.text, "a result of another version")
      let addresses = try result.addresses(of: "eth0")
      try check(settings, addresses)
    }
    try check(settings, [.v4: IPAddress(v4: 0x0A01_0005), .v6: IPAddress(v6: 5)])
  }

  /// Every entry leads where it should, by one mapping a family at most.
  private static func check(_ settings: PortSettings, _ backends: [IPAddress.Family: IPAddress]) throws {
    for isReserved in [true, false] {
      let ports = try AttachmentPorts(settings, to: backends, isReserved: isReserved)
      for one in ports.wanted {
        expect(one.pair.hostPorts.count == one.pair.backendPorts.count, "ports that do not pair up")
        expect(isReserved || !one.delivery.proxy, "a proxy without a socket")
        expect(one.conditions.isEmpty || !one.delivery.proxy, "a proxy that goes around conditions")
        let mapping = Mapping(id: "a0000001", pair: one.pair, delivery: one.delivery)
        let rules = one.delivery.rules ? Sample.layout.rules(for: mapping, conditions: one.conditions) : []
        let record = MappingRecord(mapping: mapping, holder: isReserved ? "c0000001" : "", rules: rules)
        expect(
          rules.isEmpty || MappingRecord(text: record.text)?.rules == rules,
          "other rules when read again"
        )
        for rule in rules { expect(Rule(text: rule.text) == rule, "another rule when read again") }
      }
    }
  }

  /// What is printed of a failure is one line.
  private static func refused(_ error: CNIError) {
    let text = error.message + error.details
    expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }, "control characters")
    expect(!error.details.isEmpty, "a failure without details")
  }
}
