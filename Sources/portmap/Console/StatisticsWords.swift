import Foundation

// What has gone through mappings, as a table for people and as a document for programs.

extension Reading {
  /// The figure for people: `-` where there is none, `?` where nobody tells it.
  fileprivate func text(_ body: (Value) -> String) -> String {
    switch self {
    case .value(let value): body(value)
    case .noSuchWay, .notCounted: "-"
    case .noAnswer: "?"
    }
  }

  /// The figure for programs: 0 where nothing goes this way, nil where it is not known.
  fileprivate func number<Number: ExpressibleByIntegerLiteral>(_ body: (Value) -> Number) -> Number? {
    switch self {
    case .value(let value): body(value)
    case .noSuchWay: 0
    case .notCounted, .noAnswer: nil
    }
  }
}

/// The table that `list --stats` prints.
enum StatisticsTable {
  private static let header = ["PORT", "NAT", "CONNECT", "PROXY", "OPEN", "IN", "OUT", "FAILED"]

  /// - Parameter now: Seconds since 1970.
  static func rows(_ mappings: [(mapping: Mapping, statistics: MappingStatistics)], now: Int64) -> [[String]]
  {
    rightAligned([header] + mappings.map { row($0.mapping, $0.statistics, now) })
  }

  private static func row(_ mapping: Mapping, _ statistics: MappingStatistics, _ now: Int64) -> [String] {
    let proxy = statistics.proxy
    return [
      "\(mapping)", statistics.nat.text { "\($0)" }, statistics.connect.text { "\($0)" },
      proxy.text { "\($0.clients)" }, proxy.text { "\($0.open)" },
      proxy.text { Quantity.bytes($0.bytesIn) }, proxy.text { Quantity.bytes($0.bytesOut) },
      proxy.text { failures($0, now) },
    ]
  }

  /// `3 (connection refused, 4 s ago)`
  private static func failures(_ count: ProxyCount, _ now: Int64) -> String {
    guard let last = count.lastFailure else { return "\(count.failed)" }
    return "\(count.failed) (\(last.reason), \(Quantity.age(now - last.time)))"
  }

  /// Puts spaces in front of the figures, so that they stand below one another. The ports, and the last column, which
  /// ends in words, begin at the left.
  private static func rightAligned(_ rows: [[String]]) -> [[String]] {
    var rows = rows
    for column in 1..<header.count - 1 {
      let width = rows.map { $0[column].utf8.count }.max() ?? 0
      for row in rows.indices {
        let missing = width - rows[row][column].utf8.count
        if missing > 0 { rows[row][column] = String(repeating: " ", count: missing) + rows[row][column] }
      }
    }
    return rows
  }
}

/// Quantities for people.
enum Quantity {
  /// Three digits at most, but for what is just bytes: `17 B`, `1.2 KiB`, `640 MiB`.
  static func bytes(_ count: UInt64) -> String {
    if count < 1000 { return "\(count) B" }
    var value = Double(count)
    var units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][...]
    var unit = "B"
    // 999.5 KiB would be 1000 KiB.
    while value >= 999.5, let next = units.popFirst() {
      value /= 1024
      unit = next
    }
    // 9.95 would be 10.0.
    return String(format: value < 9.95 ? "%.1f " : "%.0f ", value) + unit
  }

  /// `4 s ago`, `3 min ago`, `2 h ago`, `5 d ago`
  static func age(_ seconds: Int64) -> String {
    switch max(0, seconds) {
    case ..<60: "\(max(0, seconds)) s ago"
    case ..<3600: "\(seconds / 60) min ago"
    case ..<86400: "\(seconds / 3600) h ago"
    default: "\(seconds / 86400) d ago"
    }
  }
}

extension ProxyFailure {
  /// The kernel's words for it: `connection refused`.
  fileprivate var reason: String { SystemError(call: "", errno: errno).reason }
}

/// What has gone through a mapping; a figure that is not known is left out.
struct StatisticsDocument: Encodable {
  let connect: UInt64?
  let failed: UInt64?
  let lastFailure: String?
  let lastFailureTime: String?
  let nat: UInt64?
  let open: UInt64?
  let proxy: UInt64?
  let proxyBytesIn: UInt64?
  let proxyBytesOut: UInt64?

  init(_ statistics: MappingStatistics) {
    connect = statistics.connect.number { $0 }
    nat = statistics.nat.number { $0 }
    failed = statistics.proxy.number(\.failed)
    open = statistics.proxy.number(\.open)
    proxy = statistics.proxy.number(\.clients)
    proxyBytesIn = statistics.proxy.number(\.bytesIn)
    proxyBytesOut = statistics.proxy.number(\.bytesOut)
    var last: ProxyFailure?
    if case .value(let count) = statistics.proxy { last = count.lastFailure }
    lastFailure = last?.reason
    lastFailureTime = last.map { Date(timeIntervalSince1970: Double($0.time)).ISO8601Format() }
  }
}
