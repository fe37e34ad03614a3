import Glibc

/// An IPv4 or IPv6 address literal, without a zone, in network byte order.
struct IPAddress: Hashable, Sendable {
  enum Family: Int, Codable, CaseIterable, Sendable {
    case v4 = 4
    case v6 = 6

    /// The number of bits in an address of the family.
    var bits: Int { self == .v4 ? 32 : 128 }
  }

  let family: Family
  /// The address as a number; an IPv4 one in the low 32 bits.
  let value: UInt128

  init(v4 value: UInt32) {
    family = .v4
    self.value = UInt128(value)
  }

  init(v6 value: UInt128) {
    family = .v6
    self.value = value
  }

  init(family: Family, value: UInt128) {
    self.family = family
    self.value = value
  }

  /// Reads what inet_pton(3) takes: `192.0.2.1` in four decimal parts, or an IPv6 address without brackets and
  /// zone.
  init?(_ text: some StringProtocol) {
    let text = String(text)
    guard !text.utf8.contains(0) else { return nil }
    var v4 = in_addr()
    var v6 = in6_addr()
    if inet_pton(AF_INET, text, &v4) == 1 {
      self.init(v4: UInt32(bigEndian: v4.s_addr))
    } else if inet_pton(AF_INET6, text, &v6) == 1 {
      self.init(v6: withUnsafeBytes(of: v6) { UInt128(bigEndian: $0.loadUnaligned(as: UInt128.self)) })
    } else {
      return nil
    }
  }

  static let anyV4 = IPAddress(v4: 0)
  static let anyV6 = IPAddress(v6: 0)
  static let loopbackV4 = IPAddress(v4: 0x7F00_0001)
  static let loopbackV6 = IPAddress(v6: 1)

  var isUnspecified: Bool { value == 0 }
  var isLoopback: Bool { family == .v4 ? value >> 24 == 127 : value == 1 }
  var isMulticast: Bool { family == .v4 ? value >> 28 == 0xE : value >> 120 == 0xFF }
  var isBroadcast: Bool { family == .v4 && value == 0xFFFF_FFFF }
  /// Whether it is in fe80::/10 or 169.254.0.0/16.
  var isLinkLocal: Bool { family == .v4 ? value >> 16 == 0xA9FE : value >> 118 == 0x3FA }
  /// Whether it is an IPv4 address in IPv6 form, ::ffff:0:0/96.
  var isIPv4Mapped: Bool { family == .v6 && value >> 32 == 0xFFFF }

  /// The address as it is written in front of a port: IPv6 in brackets.
  var bracketed: String { family == .v4 ? description : "[\(description)]" }

  /// Its 4 or 16 bytes in network order.
  var bytes: [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0.suffix(family.bits / 8)) }
  }
}

extension IPAddress: LosslessStringConvertible, TextCodable {
  /// The canonical text, that of RFC 5952 for IPv6.
  var description: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
      let known = bytes.withUnsafeBytes {
        inet_ntop(family == .v4 ? AF_INET : AF_INET6, $0.baseAddress, text.baseAddress, 64)
      }
      return known.map { String(cString: $0) } ?? ""
    }
  }
}

extension IPAddress: Comparable {
  static func < (left: IPAddress, right: IPAddress) -> Bool {
    (left.family.rawValue, left.value) < (right.family.rawValue, right.value)
  }
}
