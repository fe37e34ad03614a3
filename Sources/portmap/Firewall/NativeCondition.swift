/// The truth of a rule's condition, as far as it is known.
enum Truth {
  case unmet
  case unknown
  case met
  /// Met by what tells this traffic from other traffic.
  case named
  /// Met by some of the mapping's ports.
  case partly
  /// Met by the way it leaves the host, which it shares with other traffic.
  case leaving
}

/// Tells whether traffic meets the conditions of a native table's rules.
struct NativeCondition {
  let ruleset: NativeRuleset
  let table: NativeRuleset.TableName
  let traffic: NativeTraffic

  func truth(of match: JSON) -> Truth {
    guard let left = match["left"], let right = match["right"] else { return .unknown }
    guard isThere(left) else { return .unmet }
    let truth = truth(of: left, among: right)
    switch (match["op"]?.text, truth) {
    case ("==", _), ("in", _), (_, .unknown), (_, .partly): return truth
    case ("!=", .unmet): return .met
    case ("!=", _): return .unmet
    default: return .unknown
    }
  }

  /// Tells whether the packet has the field at all: a rule about `tcp dport` is about no datagram, whatever it compares.
  private func isThere(_ left: JSON) -> Bool {
    switch left["payload"]?["protocol"]?.text {
    case nil, "th": true
    case "ip": traffic.family == .v4
    case "ip6": traffic.family == .v6
    case let name: traffic.transport == nil || traffic.transport?.rawValue == name
    }
  }

  func truth(of left: JSON, among right: JSON) -> Truth {
    guard isThere(left) else { return .unmet }
    guard let values = ruleset.values(right, table) else { return .unknown }
    func has(_ text: String) -> Bool { values.contains { $0.text == text } }
    switch (left["ct"]?["key"] ?? left["meta"]?["key"] ?? left["payload"]?["field"])?.text {
    case "state": return has("new") ? .met : .unmet
    case "status": return has("dnat") ? (traffic.isTranslated ? .named : .unmet) : .unknown
    case "nfproto": return has(traffic.family == .v4 ? "ipv4" : "ipv6") ? .met : .unmet
    case "protocol" where left["meta"] != nil:
      return has(traffic.family == .v4 ? "ip" : "ip6") ? .met : .unmet
    case "l4proto", "protocol", "nexthdr":
      return traffic.transport.map { has($0.rawValue) ? .met : .unmet } ?? .unknown
    case "iifname", "iif": return interface(values)
    case "oifname", "oif":
      return traffic.outgoing.map { Self.names($0, values) ? .leaving : .unmet } ?? .unknown
    case "dport": return ports(values)
    case "daddr" where left["payload"] != nil:
      guard let destination = traffic.destination else { return .unknown }
      return values.contains { Self.contains($0, destination) } ? .named : .unmet
    case "saddr" where left["payload"] != nil:
      guard let source = traffic.source else { return .unknown }
      return values.contains { Self.contains($0, source.address) } ? .named : .unmet
    default: return .unknown
    }
  }

  /// Compares the interface that the traffic comes in by: not `lo` for what comes from outside, and otherwise unknown.
  private func interface(_ values: [JSON]) -> Truth {
    guard let interface = traffic.interface else {
      return values.compactMap(\.text) == ["lo"] ? .unmet : .unknown
    }
    return Self.names(interface, values) ? .named : .unmet
  }

  /// Tells whether one of the values is an interface's name, or the beginning of it with an asterisk.
  private static func names(_ interface: String, _ values: [JSON]) -> Bool {
    values.compactMap(\.text).contains {
      $0.hasSuffix("*") ? interface.hasPrefix($0.dropLast()) : interface == $0
    }
  }

  private func ports(_ values: [JSON]) -> Truth {
    guard let ports = traffic.ports else { return .unknown }
    let ranges = values.compactMap { Self.range($0) }
    if ranges.contains(where: { $0.contains(ports) }) { return .named }
    return ranges.contains { $0.overlaps(ports) } ? .partly : .unmet
  }

  private static func range(_ value: JSON) -> PortRange? {
    if let number = value.number { return PortRange(first: port(number), count: 1) }
    guard let ends = value["range"]?.elements, ends.count == 2, let low = ends[0].number,
      let high = ends[1].number
    else { return nil }
    return PortRange(first: port(low), last: port(high))
  }

  /// Returns the port number that is nearest to a number.
  private static func port(_ number: Double) -> UInt16 { UInt16(max(0, min(number, Double(UInt16.max)))) }

  private static func contains(_ value: JSON, _ address: IPAddress) -> Bool {
    if let text = value.text { return IPAddress(text) == address }
    if let ends = value["range"]?.elements, ends.count == 2,
      let low = ends[0].text.flatMap({ IPAddress($0) }),
      let high = ends[1].text.flatMap({ IPAddress($0) }), low.family == address.family
    {
      return (low.value...max(low.value, high.value)).contains(address.value)
    }
    guard let text = value["prefix"]?["addr"]?.text, let network = IPAddress(text),
      let length = value["prefix"]?["len"]?.number.flatMap({ Int(exactly: $0) })
    else { return false }
    return Subnet(network, prefixLength: length)?.contains(address) ?? false
  }
}
