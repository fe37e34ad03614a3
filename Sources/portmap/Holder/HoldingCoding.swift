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

extension Holding {
  func encode(to writer: inout ByteWriter) {
    writer.put(id: id)
    writer.put(UInt8(Transport.allCases.firstIndex(of: transport) ?? 0))
    writer.put(hostIP.address)
    writer.put(ports.first)
    writer.put(ports.last)
    writer.put(isLent)
    writer.put(backend?.ip)
    writer.put(backend?.firstPort ?? 0)
    writer.put(backend?.proxy ?? false)
    writer.put(backend?.nat ?? false)
    writer.put(backend?.rules ?? false)
    writer.put(backend?.masquerade ?? false)
    writer.put(
      UInt8(backend?.proxyProtocol.flatMap { ProxyProtocol.allCases.firstIndex(of: $0) }.map { $0 + 1 } ?? 0)
    )
  }

  init?(from reader: inout ByteReader) {
    guard let id = reader.id(), let transport = reader.number(UInt8.self), let hostIP = reader.address(),
      let first = reader.number(UInt16.self), let last = reader.number(UInt16.self),
      let ports = PortRange(first: first, last: last), let isLent = reader.flag(),
      let backend = reader.address(),
      let backendPort = reader.number(UInt16.self), let proxy = reader.flag(), let nat = reader.flag(),
      let rules = reader.flag(),
      let masquerade = reader.flag(), let version = reader.number(UInt8.self),
      Int(transport) < Transport.allCases.count, Int(version) <= ProxyProtocol.allCases.count
    else { return nil }
    self.id = id
    self.transport = Transport.allCases[Int(transport)]
    self.hostIP = hostIP.map { .one($0) } ?? .every
    self.ports = ports
    self.isLent = isLent
    self.backend = backend.map {
      Backend(
        ip: $0,
        firstPort: backendPort,
        proxy: proxy,
        nat: nat,
        rules: rules,
        masquerade: masquerade,
        proxyProtocol: version == 0 ? nil : ProxyProtocol.allCases[Int(version) - 1]
      )
    }
  }
}
