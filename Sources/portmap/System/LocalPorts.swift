/// The ports that the kernel gives to sockets that name none. All programs of a network namespace share them.
struct EphemeralPorts {
  private let runs: [PortRange]
  let count: Int

  /// The ports of a range but for those that are kept for others.
  init(_ range: PortRange, without reserved: [PortRange]) {
    var runs: [PortRange] = []
    var first = Int(range.first)
    for other in reserved.sorted(by: { $0.first < $1.first }) where other.overlaps(range) {
      if let run = Self.run(first, Int(other.first) - 1) { runs.append(run) }
      first = max(first, Int(other.last) + 1)
    }
    if let run = Self.run(first, Int(range.last)) { runs.append(run) }
    self.runs = runs
    count = runs.reduce(0) { $0 + $1.count }
  }

  private static func run(_ first: Int, _ last: Int) -> PortRange? {
    guard let first = UInt16(exactly: first), let last = UInt16(exactly: last) else { return nil }
    return PortRange(first: first, last: last)
  }

  /// Any one of them, each as probable as the others; nil where there is none.
  func random() -> UInt16? {
    guard count > 0 else { return nil }
    var index = Int.random(in: 0..<count)
    for run in runs {
      if index < run.count { return run.first + UInt16(index) }
      index -= run.count
    }
    return nil
  }
}

/// What the administrator has said about ports, in this network namespace.
enum LocalPorts {
  /// The kernel's own choice where /proc/sys cannot be read.
  private static let usualRange = PortRange(first: 32768, count: 28232)

  /// The ports that the kernel gives to sockets that name none (net.ipv4.ip_local_port_range).
  static func ephemeral() -> EphemeralPorts? {
    let text = Files.contents(of: "/proc/sys/net/ipv4/ip_local_port_range") ?? []
    let ends = String(decoding: text, as: UTF8.self).split(whereSeparator: \.isWhitespace)
    let range = PortRange(ends.joined(separator: "-")[...]) ?? usualRange
    return range.map { EphemeralPorts($0, without: reserved()) }
  }

  /// The ports that are for those alone who name them (net.ipv4.ip_local_reserved_ports): `8080,9000-9010`.
  static func reserved() -> [PortRange] {
    (Files.word(of: "/proc/sys/net/ipv4/ip_local_reserved_ports") ?? "").split(separator: ",")
      .compactMap { PortRange($0) }
  }
}
