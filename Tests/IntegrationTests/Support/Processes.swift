import Foundation
import Testing

/// A process as /proc shows it.
enum ProcessState {
  /// The fields of /proc/PID/status by their names.
  static func status(_ pid: pid_t) throws -> [String: [Substring]] {
    let text = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    return Dictionary(
      text.split(separator: "\n").map { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        return (String(parts[0]), parts.count > 1 ? parts[1].split(whereSeparator: \.isWhitespace) : [])
      },
      uniquingKeysWith: { $1 }
    )
  }

  /// The soft and the hard limit of that name in /proc/PID/limits: `Max processes`.
  static func limits(_ pid: pid_t, _ name: String) throws -> [String] {
    let text = try String(contentsOfFile: "/proc/\(pid)/limits", encoding: .utf8)
    let line = try #require(text.split(separator: "\n").first { $0.hasPrefix(name) })
    return line.dropFirst(name.count).split(separator: " ").prefix(2).map(String.init)
  }
}
