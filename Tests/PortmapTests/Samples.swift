import Testing

@testable import portmap

/// Mappings to test with.
enum Samples {
  /// What `map SPEC --to BACKEND` would ask the planner for.
  static func mapping(
    _ id: String,
    _ text: String,
    to backend: String = "10.0.0.2",
    masquerade: Bool = false,
    proxy: Bool = true,
    proxyProtocol: ProxyProtocol? = nil,
    scope: ProcessIdentity? = nil
  ) throws -> Mapping {
    let spec = try PortSpec(text)
    let ip = try #require(IPAddress(backend))
    guard case .fixed(let host) = spec.frontend else {
      throw SpecError(text: text, expected: "fixed ports")
    }
    let pair = PortPair(
      transport: spec.transports.transports[0],
      hostIP: spec.hostAddress,
      hostPorts: host,
      backendIP: ip,
      backendPorts: spec.backend
    )
    let isLoopback = spec.hostAddress.isLoopback
    let delivery = Delivery(
      rules: !isLoopback,
      nat: !isLoopback && spec.hostAddress.families.contains(ip.family),
      proxy: proxy,
      masquerade: masquerade,
      proxyProtocol: proxyProtocol
    )
    return Mapping(id: id, pair: pair, delivery: delivery, scope: scope)
  }

  /// What the state records of it, its rules included, with the default chains.
  static func record(
    _ id: String,
    _ text: String,
    to backend: String = "10.0.0.2",
    masquerade: Bool = false,
    proxy: Bool = true
  ) throws -> MappingRecord {
    record(try mapping(id, text, to: backend, masquerade: masquerade, proxy: proxy))
  }

  static func record(_ mapping: Mapping) -> MappingRecord {
    MappingRecord(
      mapping: mapping,
      holder: "c0000001",
      rules: mapping.delivery.rules ? ChainLayout(tag: "").rules(for: mapping) : []
    )
  }

  /// A host with both families and no interfaces that matter.
  static let host = HostFacts(
    layout: ChainLayout(tag: ""),
    interfaces: Interfaces([]),
    firewall: FirewallFacts(variant: "nf_tables", hasIPv6: true)
  )

  /// The `number`th of some mappings that do not get into each other's way.
  static func mapping(number: Int, using random: inout SeededGenerator) throws -> Mapping {
    let transport = try #require(["", "/udp", "/sctp"].randomElement(using: &random))
    let hosts = ["", "", "0.0.0.0:", "[::]:", "192.0.2.1:", "[2001:db8::1]:", "127.0.0.1:"]
    let host = try #require(hosts.randomElement(using: &random))
    let backends = ["10.0.0.2", "10.0.0.3", "2001:db8:1::2"]
    let backend = try #require(backends.randomElement(using: &random))
    let first = 1000 + number * 300 + Int.random(in: 0...5, using: &random)
    // Some are wider than a block of 256.
    let width = try #require([1, 1, 1, 2, 11, 290].randomElement(using: &random))
    let shift = Bool.random(using: &random) ? 0 : 1000
    let spec =
      width == 1
      ? "\(host)\(first):80\(transport)"
      : "\(host)\(first)-\(first + width - 1):\(first + shift)-\(first + width - 1 + shift)\(transport)"
    let id =
      "a" + String(repeating: "0", count: 7 - String(number, radix: 16).count)
      + String(number, radix: 16)
    return try mapping(id, spec, to: backend, masquerade: Bool.random(using: &random))
  }

  static func subnet(_ text: String) throws -> Subnet { try #require(Subnet(text)) }
  static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
}
