extension String {
  /// The text with everything that a terminal takes for more than text shown as its bytes in UTF-8: `\x1b`.
  ///
  /// Names and words of others stand in messages: of specs and options, of processes, links and rules, of what a failed
  /// program has written. Besides control characters these are format characters, which can hide their neighbours or
  /// turn them around, and Unicode's own line and paragraph separators.
  ///
  /// - Parameter keepingLineBreaks: Whether line feeds stay as they are.
  func printable(keepingLineBreaks: Bool = false) -> String {
    let lineFeed = UInt8(ascii: "\n")
    if utf8.allSatisfy({ (0x20...0x7E).contains($0) || keepingLineBreaks && $0 == lineFeed }) { return self }
    return unicodeScalars.reduce(into: "") { text, scalar in
      if scalar.isPlainText || keepingLineBreaks && scalar == "\n" {
        text.unicodeScalars.append(scalar)
      } else {
        text += String(scalar).utf8.map(\.hexadecimalEscape).joined()
      }
    }
  }
}

extension UInt8 {
  /// `\x1b`: always two digits.
  fileprivate var hexadecimalEscape: String {
    "\\x" + (self < 0x10 ? "0" : "") + String(self, radix: 16)
  }
}

extension Unicode.Scalar {
  fileprivate var isPlainText: Bool {
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator: false
    default: true
    }
  }
}
