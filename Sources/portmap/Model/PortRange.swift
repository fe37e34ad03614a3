/// One port or a run of consecutive ports, 1-65535, first and last included.
struct PortRange: Hashable, Sendable {
  let first: UInt16
  let last: UInt16

  /// The range from which ports are chosen unless another is named: IANA's dynamic ports without 49152, as in docker.
  static let automatic = PortRange(uncheckedFirst: 49153, last: 65535)

  /// A placeholder, in what a dry run shows, for ports that are still to be allocated.
  static let unknown = PortRange(uncheckedFirst: 0, last: 0)

  /// Makes a range; nil unless 1 <= first <= last.
  init?(first: UInt16, last: UInt16) {
    guard first > 0, first <= last else { return nil }
    self.init(uncheckedFirst: first, last: last)
  }

  private init(uncheckedFirst first: UInt16, last: UInt16) {
    self.first = first
    self.last = last
  }

  /// Makes a run of `count` ports from `first` on; nil where it would leave 1-65535.
  init?(first: UInt16, count: Int) {
    guard let last = UInt16(exactly: Int(first) + count - 1) else { return nil }
    self.init(first: first, last: last)
  }

  /// Reads `8080` or `8000-8010`; nil for anything else.
  init?(_ text: Substring) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count <= 2, let first = Self.port(parts[0]), let last = Self.port(parts[parts.count - 1])
    else { return nil }
    self.init(first: first, last: last)
  }

  /// Reads a port number, 0-65535, in ASCII digits and nothing else.
  static func port(_ text: Substring) -> UInt16? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
    else { return nil }
    return UInt16(text)
  }

  var count: Int { Int(last) - Int(first) + 1 }
  var isSingle: Bool { first == last }
  var ports: ClosedRange<UInt16> { first...last }

  func contains(_ port: UInt16) -> Bool { ports.contains(port) }
  func contains(_ other: PortRange) -> Bool { first <= other.first && other.last <= last }
  func overlaps(_ other: PortRange) -> Bool { ports.overlaps(other.ports) }
}

extension PortRange: CustomStringConvertible {
  var description: String { isSingle ? "\(first)" : "\(first)-\(last)" }
}
