/// What ADD and CHECK read of a configuration: the ports that are asked for, and how they are to be mapped.
struct PortSettings {
  /// Whether neighbours of the container get its answers through this host.
  let snat: Bool
  /// Whether the source of all that is mapped is rewritten.
  let masqueradesAll: Bool
  /// Further matches of DNAT rules.
  let conditions: [IPAddress.Family: [String]]
  /// Whether host ports are held; nil where the configuration does not say so.
  let reserve: Bool?
  let ports: [PortMapEntry]

  init(_ configuration: JSONText) throws(CNIError) {
    snat = try configuration.flag("snat") ?? true
    masqueradesAll = try configuration.flag("masqAll") ?? false
    reserve = try configuration.flag("reserve")
    conditions = [
      .v4: try Self.conditions("conditionsV4", configuration),
      .v6: try Self.conditions("conditionsV6", configuration),
    ]
    try Self.checkOthers(configuration)
    var ports: [PortMapEntry] = []
    let runtime = try configuration.dictionary("runtimeConfig")
    if let list = try runtime?.list("portMappings") {
      for element in list { ports.append(try PortMapEntry(element)) }
    }
    self.ports = ports
  }

  /// Whether a mapping to the family has conditions.
  func isConditional(_ family: IPAddress.Family) -> Bool { !(conditions[family] ?? []).isEmpty }

  /// Reads words that are added to a rule. What could not be told from the rest of it, in the text that iptables-restore
  /// reads or in the state's records, is refused.
  private static func conditions(_ key: String, _ configuration: JSONText) throws(CNIError) -> [String] {
    guard let list = try configuration.list(key) else { return [] }
    var words: [String] = []
    for element in list {
      guard let word = element.string else {
        throw CNIError(.decoding, "cannot decode \(key)", "\(key) has \(element.excerpt), not a string")
      }
      words.append(word)
    }
    guard let first = words.first else { return [] }
    let isText = words.allSatisfy { word in
      !word.isEmpty && word.utf8.allSatisfy { (0x20...0x7E).contains($0) && $0 != UInt8(ascii: "|") }
    }
    // Matches of nftables' own language have no dashes; others may follow, but not come first.
    guard isText, first == "!" || first.hasPrefix("-") else {
      let value = configuration[key]?.excerpt ?? ""
      throw CNIError(
        .unsupportedField,
        "unsupported \(key)",
        "\(key) is \(value): expected matches of iptables in printable ASCII without a bar"
      )
    }
    let actions: Set = ["-j", "--jump", "-g", "--goto", "-t", "--table", "-A", "-I", "-D"]
    if let word = words.first(where: { actions.contains($0) }) {
      throw CNIError(.invalidConfiguration, "invalid \(key)", "\(key) has '\(word)', which is no match")
    }
    return words
  }

  /// Refuses what the original plugin refuses among settings that have no effect here.
  private static func checkOthers(_ configuration: JSONText) throws(CNIError) {
    let bit = try configuration.number("markMasqBit")
    let chain = try configuration.text("externalSetMarkChain")
    if bit != nil, chain != nil {
      throw invalid("externalSetMarkChain", "it excludes markMasqBit")
    }
    if let bit, !(0...31).contains(bit) { throw invalid("markMasqBit", "it is \(bit), not within 0-31") }
    guard let backend = try configuration.text("backend") else { return }
    guard ["iptables", "nftables"].contains(backend) else {
      throw invalid("backend", "it is '\(backend)', neither 'iptables' nor 'nftables'")
    }
    if backend == "nftables", chain != nil {
      throw invalid("externalSetMarkChain", "it goes with the backend 'iptables' alone")
    }
  }

  private static func invalid(_ key: String, _ problem: String) -> CNIError {
    CNIError(.invalidConfiguration, "invalid \(key)", "\(key): \(problem)")
  }
}

/// An entry of the capability `portMappings`.
struct PortMapEntry: Hashable {
  let hostIP: HostAddress
  let hostPort: UInt16
  let containerPort: UInt16
  let transport: Transport

  init(_ entry: JSONText) throws(CNIError) {
    guard entry.kind == .object else {
      throw CNIError(
        .decoding,
        "cannot decode portMappings",
        "portMappings has \(entry.excerpt), not an object"
      )
    }
    hostPort = try Self.port("hostPort", entry)
    containerPort = try Self.port("containerPort", entry)
    let name = try entry.text("protocol") ?? ""
    guard let transport = Transport(rawValue: name.isEmpty ? "tcp" : name.lowercased()) else {
      throw CNIError(
        .invalidConfiguration,
        "invalid protocol",
        "protocol is '\(name)', neither tcp, udp nor sctp"
      )
    }
    self.transport = transport
    let host = try entry.text("hostIP") ?? ""
    if host.isEmpty {
      hostIP = .every
    } else if let address = SpecText.hostAddress(host) {
      hostIP = .one(address)
    } else {
      throw CNIError(.invalidConfiguration, "invalid hostIP", "hostIP is '\(host)', no unicast address")
    }
  }

  private static func port(_ key: String, _ entry: JSONText) throws(CNIError) -> UInt16 {
    let number = try entry.number(key) ?? 0
    guard let port = UInt16(exactly: number), port > 0 else {
      throw CNIError(.invalidConfiguration, "invalid \(key)", "\(key) is \(number), not within 1-65535")
    }
    return port
  }
}
