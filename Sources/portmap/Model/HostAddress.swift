/// The host's side of a port: one address, or every address of both families.
///
/// `0.0.0.0` and `::` count as one address here; they mean every IPv4 and every IPv6 address.
enum HostAddress: Hashable, Sendable {
  case every
  case one(IPAddress)

  /// The address; nil for every address.
  var address: IPAddress? {
    if case .one(let address) = self { address } else { nil }
  }

  var isLoopback: Bool { address?.isLoopback ?? false }

  /// The families in which the port answers.
  var families: [IPAddress.Family] {
    address.map { [$0.family] } ?? [.v4, .v6]
  }

  /// Whether the same port on both would get the same packets.
  func overlaps(_ other: HostAddress) -> Bool {
    guard let mine = address, let theirs = other.address else { return true }
    return mine == theirs || (mine.family == theirs.family && (mine.isUnspecified || theirs.isUnspecified))
  }

  /// The text in front of a port: `127.0.0.1:`, `[::1]:`, nothing for every address.
  var prefix: String { address.map { "\($0.bracketed):" } ?? "" }
}

extension HostAddress: LosslessStringConvertible, TextCodable {
  init?(_ text: String) {
    if text == "*" {
      self = .every
    } else if let address = IPAddress(text) {
      self = .one(address)
    } else {
      return nil
    }
  }

  /// `*` or the address, without brackets.
  var description: String { address?.description ?? "*" }
}
