import Testing

@testable import portmap

/// What others have written reaches the terminal as text and as nothing else.
@Suite struct PrintableTests {
  @Test(arguments: [
    ("80/tcp", "80/tcp"), ("", ""), ("wäb 日本 🙂 ~", "wäb 日本 🙂 ~"), ("C:\\x", "C:\\x"),
    ("\u{1B}[31m", "\\x1b[31m"), ("a\nb\r\nc\td\0", "a\\x0ab\\x0d\\x0ac\\x09d\\x00"), ("\u{7F}", "\\x7f"),
    ("\u{9B}2J\u{85}", "\\xc2\\x9b2J\\xc2\\x85"), ("a\u{2028}b\u{2029}", "a\\xe2\\x80\\xa8b\\xe2\\x80\\xa9"),
    ("\u{202E}08\u{2066}", "\\xe2\\x80\\xae08\\xe2\\x81\\xa6"),
    ("8\u{200B}0\u{FEFF}", "8\\xe2\\x80\\x8b0\\xef\\xbb\\xbf"),
    ("\u{E0041}", "\\xf3\\xa0\\x81\\x81"),
  ])
  func shown(text: String, expected: String) {
    #expect(text.printable() == expected)
    #expect(expected.printable() == expected)
  }

  @Test func bytesThatAreNoText() {
    #expect(String(decoding: [0x38, 0x9B, 0x30, 0xFF], as: UTF8.self).printable() == "8\u{FFFD}0\u{FFFD}")
  }

  @Test func lineBreaksMayStay() {
    #expect("a\nb\r\n\u{1B}\n".printable(keepingLineBreaks: true) == "a\nb\\x0d\n\\x1b\n")
  }
}

@Suite struct FailureTests {
  @Test func messageAndHintAreOneLineEach() {
    let failure = Failure(.failed, "cannot map '80\nportmap: done'", hint: "\u{1B}c (process 7) has it")
    #expect(failure.message == "cannot map '80\\x0aportmap: done'")
    #expect(failure.hint == "\\x1bc (process 7) has it")
  }

  @Test func aProgramsLinesStayLines() {
    let error = ProgramError.failed("ip", status: 2, stderr: "first\u{1B}[2J\n\nsecond\r\nthird")
    let failure = Failure(error, doing: "map 80\n")
    let message = "cannot map 80\\x0a: ip failed with status 2: first\\x1b[2J\n  second\\x0d\n  third"
    #expect(failure.message == message)
    #expect(failure.besideCommand.message == message && failure.besideCommand.status == .besideCommand)
  }

  @Test func statusesBesideACommand() {
    for status in [ExitStatus.failed, .conflict, .notPermitted] {
      #expect(Failure(status, "no").besideCommand.status == .besideCommand)
    }
    for status in [ExitStatus.usage, .commandNotRun, .commandNotFound] {
      #expect(Failure(status, "no").besideCommand.status == status)
    }
  }
}

/// Of what a failed program has written the end is quoted.
@Suite struct ProgramErrorTests {
  private func end(_ text: String) -> String { ProgramRunner.end(of: Array(text.utf8)) }

  @Test func shortOnesAreQuotedWhole() {
    #expect(end("") == "")
    #expect(end("\n\n") == "")
    #expect(end("why\n") == "why")
    #expect(end("one\ntwo\n\n") == "one\ntwo")
    #expect(end(String(repeating: "x", count: 4096)).utf8.count == 4096)
  }

  @Test func wholeLinesFromTheEnd() {
    let lines = (0..<100_000).map { "line \($0)" }
    let quoted = end(lines.joined(separator: "\n") + "\n").split(separator: "\n").map(String.init)
    #expect(quoted == lines.suffix(quoted.count))
    #expect((300...500).contains(quoted.count))
    // One that fits to the byte stays.
    let line = String(repeating: "y", count: 4095)
    #expect(end("gone\n\(line)z") == line + "z")
    #expect(end("gone\n\(line)\nz").hasSuffix("z") && end("gone\n\(line)\nz") == "z")
  }

  @Test func aLineThatIsTooLong() {
    #expect(end("begin" + String(repeating: "x", count: 5000) + "end").hasSuffix("xend"))
    #expect(end(String(repeating: "x", count: 5000)).utf8.count == 4096)
    let quoted = end("x" + String(repeating: "日", count: 2000))
    #expect(quoted.utf8.count <= 4096 && quoted.allSatisfy { $0 == "日" })
  }
}
