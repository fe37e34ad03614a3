/// The bytes of the control protocol: numbers in network order, texts of a fixed length.
///
/// It has no use for JSON: whoever touches Foundation's pays for it in memory, and there may be a thousand of these
/// processes.
struct ByteWriter {
  private(set) var bytes: [UInt8] = []

  mutating func put<Number: FixedWidthInteger>(_ number: Number) {
    withUnsafeBytes(of: number.bigEndian) { bytes += Array($0) }
  }

  mutating func put(_ flag: Bool) { put(UInt8(flag ? 1 : 0)) }

  /// Eight bytes of text: an id.
  mutating func put(id: String) {
    let text = Array(id.utf8.prefix(8))
    bytes += text + Array(repeating: 0, count: 8 - text.count)
  }

  mutating func put(_ address: IPAddress?) {
    put(UInt8(address?.family.rawValue ?? 0))
    put(address?.value ?? 0)
  }
}

/// Reads what ByteWriter wrote; everything is nil from the first thing on that is not there or makes no sense.
struct ByteReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func number<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
    let size = MemoryLayout<Number>.size
    guard rest.count >= size else { return nil }
    defer { rest = rest.dropFirst(size) }
    return rest.withUnsafeBytes { Number(bigEndian: $0.loadUnaligned(as: Number.self)) }
  }

  mutating func flag() -> Bool? { number(UInt8.self).map { $0 != 0 } }

  mutating func id() -> String? {
    guard rest.count >= 8 else { return nil }
    defer { rest = rest.dropFirst(8) }
    return String(decoding: rest.prefix(8), as: UTF8.self)
  }

  /// The outer nil stands for a mistake, the inner one for no address.
  mutating func address() -> IPAddress?? {
    guard let family = number(UInt8.self), let value = number(UInt128.self) else { return nil }
    if family == 0 { return .some(nil) }
    guard let family = IPAddress.Family(rawValue: Int(family)), family == .v6 || value >> 32 == 0 else {
      return nil
    }
    return IPAddress(family: family, value: value)
  }
}

/// The fields of a holding in the order of version 1 of the protocol, which knows one form for both kinds: those of a
/// backend are empty in a reservation, and whether it is lent is false in a mapping.
extension Holding {
  func encode(to writer: inout ByteWriter) {
    writer.put(id: id)
    writer.put(UInt8(Transport.allCases.firstIndex(of: transport) ?? 0))
    writer.put(hostIP.address)
    writer.put(ports.first)
    writer.put(ports.last)
    writer.put(isLent)
    var backend: IPAddress?
    var firstPort: UInt16 = 0
    var delivery = Delivery(rules: false, nat: false, proxy: false)
    if case .mapping(let mapping) = self {
      backend = mapping.backendIP
      firstPort = mapping.backendPorts.first
      delivery = mapping.delivery
    }
    writer.put(backend)
    writer.put(firstPort)
    writer.put(delivery.proxy)
    writer.put(delivery.nat)
    writer.put(delivery.rules)
    writer.put(delivery.masquerade)
    let version = delivery.proxyProtocol.flatMap { ProxyProtocol.allCases.firstIndex(of: $0) }
    writer.put(UInt8(version.map { $0 + 1 } ?? 0))
  }

  init?(from reader: inout ByteReader) {
    guard let id = reader.id(), let transport = reader.number(UInt8.self),
      Int(transport) < Transport.allCases.count, let host = reader.address(),
      let first = reader.number(UInt16.self), let last = reader.number(UInt16.self),
      let ports = PortRange(first: first, last: last), let isLent = reader.flag(),
      let backend = reader.address(), let backendPort = reader.number(UInt16.self),
      let delivery = Delivery(from: &reader)
    else { return nil }
    let hostIP = host.map { HostAddress.one($0) } ?? .every
    guard let backend else {
      guard ports.isSingle else { return nil }
      self = .reservation(
        Reservation(
          id: id,
          transport: Transport.allCases[Int(transport)],
          hostIP: hostIP,
          port: ports.first,
          isLent: isLent
        )
      )
      return
    }
    guard let backendPorts = PortRange(first: backendPort, count: ports.count) else { return nil }
    let pair = PortPair(
      transport: Transport.allCases[Int(transport)],
      hostIP: hostIP,
      hostPorts: ports,
      backendIP: backend,
      backendPorts: backendPorts
    )
    self = .mapping(Mapping(id: id, pair: pair, delivery: delivery))
  }
}

extension Delivery {
  fileprivate init?(from reader: inout ByteReader) {
    guard let proxy = reader.flag(), let nat = reader.flag(), let rules = reader.flag(),
      let masquerade = reader.flag(), let version = reader.number(UInt8.self),
      Int(version) <= ProxyProtocol.allCases.count
    else { return nil }
    self.init(
      rules: rules,
      nat: nat,
      proxy: proxy,
      masquerade: masquerade,
      proxyProtocol: version == 0 ? nil : ProxyProtocol.allCases[Int(version) - 1]
    )
  }
}
