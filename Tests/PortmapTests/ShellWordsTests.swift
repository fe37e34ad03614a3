import Testing

@testable import portmap

/// Lines split as a shell splits them.
@Suite struct ShellWordsTests {
  private func words(_ line: String) throws -> [String] { try ShellWords(Array(line.utf8)[...]).words }

  @Test(arguments: [
    ("", []), ("  \t ", []), ("# all of it", []), ("a b\tc", ["a", "b", "c"]), ("  a  b  ", ["a", "b"]),
    ("a#b #c", ["a#b"]), ("'a b' \"c d\"", ["a b", "c d"]), ("a'b'\"c\"d", ["abcd"]), ("'' \"\"", ["", ""]),
    ("'#' \\# \"#\"", ["#", "#", "#"]), ("a\\ b", ["a b"]), ("'a\\'", ["a\\"]),
    ("\"a\\\"b\\\\c\\$d\\`e\\f\"", ["a\"b\\c$d`e\\f"]),
    ("$HOME * ~ `x` $(y)", ["$HOME", "*", "~", "`x`", "$(y)"]), ("ä 'ö ü'", ["ä", "ö ü"]), ("a #\"", ["a"]),
  ])
  func theyAreThoseOfAShell(_ line: String, _ expected: [String]) throws {
    #expect(try words(line) == expected)
  }

  @Test(arguments: [
    ("'a", ShellWords.Mistake.openQuote("'")), ("a \"b'", .openQuote("\"")),
    ("a \\", .nothingBehindBackslash),
    ("\"\\", .openQuote("\"")), ("a\r", .controlCharacter(13)), ("a\0b", .controlCharacter(0)),
    ("'\u{1b}[2J'", .controlCharacter(27)),
  ])
  func whatIsNoLineIsRefused(_ line: String, _ mistake: ShellWords.Mistake) {
    #expect(throws: mistake) { try words(line) }
  }
}
