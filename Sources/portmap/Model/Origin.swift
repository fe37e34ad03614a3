/// The place that declares something: a line of an applied file.
struct Origin: Hashable, Sendable {
  /// The file's absolute path, or the name that standard input was given.
  let name: String
  /// The line's number as of the last time that the file was applied.
  var line: Int
}

extension Origin: CustomStringConvertible {
  /// `/etc/portmap.conf:3`
  var description: String { "\(name):\(line)" }
}

extension Origin: TextCodable {
  /// Reads `3:/etc/portmap.conf`, the name as a plain word.
  init?(text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let line = Int(parts[0]), line > 0, let name = PlainWord.decoded(parts[1]) else {
      return nil
    }
    self.init(name: name, line: line)
  }

  var text: String { "\(line):\(PlainWord.encoded(name))" }
}
