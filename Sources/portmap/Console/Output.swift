import Foundation

/// The two standard streams: stdout carries results only, stderr everything else.
enum Output {
  /// Writes text to stdout as it is; a result that cannot be written is a failure.
  static func write(_ text: String) throws(Failure) {
    guard let error = write(text, to: STDOUT_FILENO) else { return }
    throw Failure(.failed, "cannot write to standard output: \(error.reason)")
  }

  /// Writes lines; what names in them could do to a terminal is shown instead.
  static func lines(_ lines: [String]) throws(Failure) {
    try write(lines.map { $0.printable(keepingLineBreaks: true) + "\n" }.joined())
  }

  /// Writes one JSON document: sorted keys, slashes as they are, a line end.
  static func json(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    try write(String(decoding: encoder.encode(value), as: UTF8.self) + "\n")
  }

  /// Writes columns as wide as their widest cell, two spaces apart, with no spaces behind the last.
  static func table(_ rows: [[String]]) throws(Failure) { try lines(tableLines(rows)) }

  /// Returns the lines of a table.
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

  /// Says something on stderr that is no result.
  static func say(_ message: String) { writeError("portmap: \(message)\n") }

  /// Prints a failure; this is the one place where that is done.
  static func report(_ failure: Failure) { report(failure.message, hint: failure.hint) }

  /// Prints what a failure says.
  static func report(_ message: String, hint: String?) {
    writeError("portmap: \(message)\n" + (hint.map { "hint: \($0)\n" } ?? ""))
  }

  /// Writes text to stderr; where even that is impossible there is nobody left to tell.
  static func writeError(_ text: String) {
    _ = write(text.printable(keepingLineBreaks: true), to: STDERR_FILENO)
  }

  private static func write(_ text: String, to descriptor: Int32) -> SystemError? {
    Progress.clear()
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count >= 0 {
        rest = rest.dropFirst(count)
      } else if errno != EINTR {
        return SystemError(call: "write", errno: errno)
      }
    }
    return nil
  }
}
