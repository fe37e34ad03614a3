/// An address of a network with the network's prefix length, as interfaces have it: `172.16.42.1/24`.
struct Subnet: Hashable, Sendable {
  let address: IPAddress
  let prefixLength: Int

  /// Makes a subnet; nil for a prefix length outside 0-32 or 0-128.
  init?(_ address: IPAddress, prefixLength: Int) {
    guard (0...address.family.bits).contains(prefixLength) else { return nil }
    self.address = address
    self.prefixLength = prefixLength
  }

  /// Reads `172.16.42.1/24`, the prefix length without leading zeros; nil for anything else.
  init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(parts[0]), let length = Int(parts[1]),
      parts[1] == "\(length)"
    else { return nil }
    self.init(address, prefixLength: length)
  }

  private var mask: UInt128 {
    let all = address.family == .v4 ? UInt128(UInt32.max) : UInt128.max
    let host = address.family.bits - prefixLength
    return host >= 128 ? 0 : (all >> UInt128(host)) << UInt128(host)
  }

  /// The first address, which names the network.
  var network: IPAddress { IPAddress(family: address.family, value: address.value & mask) }

  /// The last address, in IPv4 the directed broadcast address.
  var last: IPAddress {
    let all = address.family == .v4 ? UInt128(UInt32.max) : UInt128.max
    return IPAddress(family: address.family, value: address.value | (all & ~mask))
  }

  /// `172.16.42.0/24` for `172.16.42.1/24`: as routes and iptables write it.
  var networkDescription: String { "\(network)/\(prefixLength)" }

  func contains(_ other: IPAddress) -> Bool {
    other.family == address.family && other.value & mask == address.value & mask
  }

  /// Whether all of another network lies within this one.
  func covers(_ other: Subnet) -> Bool { prefixLength <= other.prefixLength && contains(other.address) }

  /// The same network with an address of its own: the first one where the network itself was named.
  var withGateway: Subnet {
    guard address == network else { return self }
    let first = IPAddress(family: address.family, value: address.value + 1)
    return Subnet(first, prefixLength: prefixLength) ?? self
  }

  func overlaps(_ other: Subnet) -> Bool {
    prefixLength <= other.prefixLength ? contains(other.address) : other.contains(address)
  }
}

extension Subnet: LosslessStringConvertible, TextCodable {
  var description: String { "\(address)/\(prefixLength)" }
}
