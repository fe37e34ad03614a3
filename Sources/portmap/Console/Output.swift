import Foundation

/// The two streams. stdout carries results only, and a result that cannot be written is a failure.
enum Output {
  static func write(_ text: String) throws(Failure) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(1, $0.baseAddress, $0.count) }
      if count >= 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR {
        let reason = SystemError(call: "write", errno: errno).reason
        throw Failure(.failed, "cannot write to standard output: \(reason)")
      }
    }
  }

  static func lines(_ lines: [String]) throws(Failure) {
    try write(lines.map { $0 + "\n" }.joined())
  }

  /// One document: sorted keys, slashes as they are, a line end.
  static func json(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try write(String(decoding: encoder.encode(value), as: UTF8.self) + "\n")
  }

  /// Columns as wide as their widest cell, two spaces apart, none behind the last.
  static func table(_ rows: [[String]]) throws(Failure) { try lines(tableLines(rows)) }

  static func tableLines(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
      }
      return cells.joined(separator: "  ")
    }
  }

  /// A line on stderr; where even that is impossible there is nobody left to tell.
  static func say(_ message: String) {
    let text = Array("portmap: \(message)\n".utf8)
    _ = Glibc.write(2, text, text.count)
  }

  /// The one place where a failure is printed.
  static func report(_ failure: Failure) {
    var text = "portmap: \(failure.message)\n"
    if let hint = failure.hint { text += "hint: \(hint)\n" }
    let bytes = Array(text.utf8)
    _ = Glibc.write(2, bytes, bytes.count)
  }
}
