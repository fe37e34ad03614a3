import Testing

@testable import portmap

/// What the plugin reads, and what it refuses, each with the code that the specification has for it.
@Suite struct CNIConfigurationTests {
  private func body(_ text: String) throws -> JSONText { try JSONText(Array(text.utf8)) }

  private func code(_ run: () throws -> Void) -> CNIError.Code? {
    do {
      try run()
      return nil
    } catch {
      return CNIError(error).code
    }
  }

  // MARK: the environment

  private let environment = [
    "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "4f3c", "CNI_NETNS": "/run/netns/blue", "CNI_IFNAME": "eth0",
  ]

  @Test func whenItIsThePlugin() {
    #expect(CNICall.isMeant(by: "/opt/cni/bin/portmap", "ADD"))
    #expect(CNICall.isMeant(by: "portmap", "anything"))
    #expect(!CNICall.isMeant(by: "portmap", nil) && !CNICall.isMeant(by: "portmap", ""))
    #expect(!CNICall.isMeant(by: "docker-proxy", "ADD") && !CNICall.isMeant(by: nil, "ADD"))
  }

  @Test(arguments: [
    ("CNI_COMMAND", "add"), ("CNI_COMMAND", ""), ("CNI_CONTAINERID", ""), ("CNI_CONTAINERID", "a/b"),
    ("CNI_CONTAINERID", "-a"), ("CNI_CONTAINERID", "a\n"), ("CNI_CONTAINERID", "ä"), ("CNI_NETNS", ""),
    ("CNI_IFNAME", ""), ("CNI_IFNAME", "."), ("CNI_IFNAME", "a/b"), ("CNI_IFNAME", "sixteen_letters_"),
    ("CNI_IFNAME", "a b"), ("CNI_IFNAME", "a\nb"), ("CNI_IFNAME", "a:1"),
  ])
  func wrongVariables(_ name: String, _ value: String) throws {
    var environment = environment
    _ = try CNICall(environment)
    environment[name] = value
    let error = #expect(throws: CNIError.self) { try CNICall(environment) }
    #expect(error?.code == .invalidEnvironment)
    #expect(error?.details.contains(name) ?? false)
    #expect(!(error?.details.contains("\n") ?? true))
  }

  @Test func eachCommandNeedsItsOwn() throws {
    #expect(code { _ = try CNICall(["CNI_COMMAND": "ADD"]) } == .invalidEnvironment)
    for command in ["GC", "STATUS", "VERSION"] { _ = try CNICall(["CNI_COMMAND": command]) }
    _ = try CNICall(["CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a", "CNI_IFNAME": "eth0"])
    #expect(code { _ = try CNICall(["CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a"]) } == .invalidEnvironment)
  }

  // MARK: versions and names

  private func configuration(_ text: String, for command: CNICall.Command = .add) throws -> CNIConfiguration {
    let body = try JSONText.object(Array(text.utf8))
    return try CNIConfiguration(body, CNIConfiguration.version(of: body), for: command)
  }

  @Test func versions() throws {
    #expect(try configuration(#"{"name":"net"}"#).version == .v0_1_0)
    #expect(try configuration(#"{"name":"net","cniVersion":""}"#).version == .v0_1_0)
    for version in CNIVersion.allCases {
      let text = #"{"cniVersion":"\#(version.text)","name":"a.b-c_d"}"#
      #expect(try configuration(text).version == version)
      #expect((code { _ = try configuration(text, for: .gc) } == nil) == (version == .v1_1_0))
      #expect((code { _ = try configuration(text, for: .check) } == nil) == (version.text >= "0.4.0"))
    }
    for word in ["1.2.0", "0.5.0", "1", "x", "1.0.0 "] {
      let text = #"{"cniVersion":"\#(word)","name":"net"}"#
      #expect(code { _ = try configuration(text) } == .incompatibleVersion)
    }
  }

  @Test(arguments: [
    ("", CNIError.Code.decoding), ("x", .decoding), ("[]", .decoding), ("\"a\"", .decoding), ("{", .decoding),
    (#"{"cniVersion":1,"name":"a"}"#, .decoding), (#"{"name":7}"#, .decoding), ("{}", .invalidConfiguration),
    (#"{"name":""}"#, .invalidConfiguration), (#"{"name":"a/b"}"#, .invalidConfiguration),
    (#"{"name":"a\nb"}"#, .invalidConfiguration), (#"{"name":"../a"}"#, .invalidConfiguration),
    (#"{"name":null}"#, .invalidConfiguration),
  ])
  func wrongConfigurations(_ text: String, _ expected: CNIError.Code) {
    #expect(code { _ = try configuration(text) } == expected)
  }

  // MARK: settings

  private func settings(_ rest: String) throws -> PortSettings {
    try PortSettings(body(#"{"name":"net"\#(rest.isEmpty ? "" : ",")\#(rest)}"#))
  }

  @Test func defaults() throws {
    let settings = try settings("")
    #expect(settings.snat && !settings.masqueradesAll && settings.reserve == nil && settings.ports.isEmpty)
    #expect(!settings.isConditional(.v4) && !settings.isConditional(.v6))
    _ = try self.settings(#""markMasqBit":31,"backend":"nftables","snat":null,"conditionsV4":[]"#)
    _ = try self.settings(#""externalSetMarkChain":"X","backend":"iptables""#)
  }

  @Test(arguments: [
    (#""snat":"yes""#, CNIError.Code.decoding), (#""masqAll":1"#, .decoding), (#""reserve":"no""#, .decoding),
    (#""conditionsV4":"-s 1.2.3.4""#, .decoding), (#""conditionsV4":[1]"#, .decoding),
    (#""conditionsV4":["ip","saddr","10.0.0.0/8"]"#, .unsupportedField),
    (#""conditionsV6":["-m","a|b"]"#, .unsupportedField),
    (#""conditionsV4":["-s","a\nb"]"#, .unsupportedField),
    (#""conditionsV4":["-s","1.2.3.4","-j","ACCEPT"]"#, .invalidConfiguration),
    (#""markMasqBit":32"#, .invalidConfiguration), (#""markMasqBit":-1"#, .invalidConfiguration),
    (#""markMasqBit":13,"externalSetMarkChain":"X""#, .invalidConfiguration),
    (#""backend":"ipvs""#, .invalidConfiguration),
    (#""backend":"nftables","externalSetMarkChain":"X""#, .invalidConfiguration),
    (#""runtimeConfig":[]"#, .decoding), (#""runtimeConfig":{"portMappings":{}}"#, .decoding),
    (#""runtimeConfig":{"portMappings":[7]}"#, .decoding),
  ])
  func wrongSettings(_ text: String, _ expected: CNIError.Code) throws {
    #expect(code { _ = try settings(text) } == expected)
  }

  @Test func unsupportedFieldsAreNamedWithTheirValues() throws {
    let error = #expect(throws: CNIError.self) {
      try settings(#""conditionsV4":["ip","saddr","10.0.0.0/8"]"#)
    }
    #expect(error?.details.contains(#"conditionsV4 is ["ip","saddr","10.0.0.0/8"]"#) ?? false)
  }

  @Test(arguments: [
    (#"{"hostPort":0,"containerPort":80}"#, CNIError.Code.invalidConfiguration),
    (#"{"hostPort":80}"#, .invalidConfiguration),
    (#"{"hostPort":80,"containerPort":-1}"#, .invalidConfiguration),
    (#"{"hostPort":65536,"containerPort":80}"#, .invalidConfiguration),
    (#"{"hostPort":"80","containerPort":80}"#, .decoding),
    (#"{"hostPort":8e1,"containerPort":80}"#, .decoding),
    (#"{"hostPort":1,"containerPort":80,"protocol":"icmp"}"#, .invalidConfiguration),
    (#"{"hostPort":1,"containerPort":80,"protocol":6}"#, .decoding),
    (#"{"hostPort":1,"containerPort":80,"hostIP":"localhost"}"#, .invalidConfiguration),
    (#"{"hostPort":1,"containerPort":80,"hostIP":"224.0.0.1"}"#, .invalidConfiguration),
    (#"{"hostPort":1,"containerPort":80,"hostIP":"fe80::1%eth0"}"#, .invalidConfiguration),
  ])
  func wrongEntries(_ entry: String, _ expected: CNIError.Code) throws {
    #expect(code { _ = try PortMapEntry(body(entry)) } == expected)
  }

  @Test(arguments: ["tcp", "TCP", "Tcp", ""])
  func protocolsInEitherCase(_ name: String) throws {
    let entry = try PortMapEntry(body(#"{"hostPort":8080,"containerPort":80,"protocol":"\#(name)"}"#))
    #expect(entry.transport == .tcp && entry.hostIP == .every)
    let udp = try PortMapEntry(body(#"{"hostPort":1,"containerPort":80,"protocol":"UDP","hostIP":"::1"}"#))
    #expect(udp.transport == .udp && udp.hostIP == .one(.loopbackV6))
  }
}
