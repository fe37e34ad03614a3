import Testing

@testable import portmap

@Suite struct ParsedArgumentsTests {
  private let options = [
    OptionDefinition(name: "--quiet", short: "-q", help: ""),
    OptionDefinition(name: "--to", value: "ADDR", help: ""),
    OptionDefinition(name: "--count", short: "-c", value: "N", help: ""),
    OptionDefinition(name: "--host-ip", value: "ADDR", isRepeatable: true, help: ""),
  ]

  private func parse(_ line: String, startsCommand: Bool = false) throws(Failure) -> ParsedArguments {
    let words = line.split(separator: " ").map(String.init)
    return try ParsedArguments(words, options: options, startsCommand: startsCommand)
  }

  @Test(arguments: ["--to web 80 81", "80 --to web 81", "80 81 --to=web", "--to=web 80 -- 81"])
  func optionsBeforeAndAfterOperands(_ line: String) throws {
    let arguments = try parse(line)
    #expect(arguments.value("--to") == "web")
    #expect(arguments.operands == ["80", "81"])
    #expect(arguments.command == nil)
  }

  @Test func shortsRepetitionAndSwitches() throws {
    let arguments = try parse("-q -c 3 --host-ip 192.0.2.1 --host-ip=::1 --quiet")
    #expect(arguments.has("--quiet") && !arguments.has("--to"))
    #expect(arguments.value("--count") == "3")
    #expect(arguments.all("--host-ip") == ["192.0.2.1", "::1"])
    #expect(arguments.all("--to") == [])
  }

  @Test(arguments: ["-qc3 80", "-qc 3 80", "80 -c3 -qq", "-c 3 -q -- 80", "--count=3 -q 80"])
  func joinedShorts(_ line: String) throws {
    let arguments = try parse(line)
    #expect(arguments.has("--quiet") && arguments.value("--count") == "3")
    #expect(arguments.operands == ["80"])
  }

  @Test func valuesAreTakenAsTheyAre() throws {
    #expect(try parse("--to --quiet").value("--to") == "--quiet")
    #expect(try parse("--to=a=b").value("--to") == "a=b")
    #expect(try parse("--to=").value("--to") == "")
    #expect(try parse("--to -- 80").value("--to") == "--")
    #expect(try parse("-cq").value("--count") == "q")
    #expect(try parse("-c=3").value("--count") == "=3")
    #expect(try parse("-c -q").value("--count") == "-q")
  }

  @Test func twoDashesBeginACommandOrEndTheOptions() throws {
    let command = try parse("80 -- sleep --to 5", startsCommand: true)
    #expect(command.operands == ["80"])
    #expect(command.command == ["sleep", "--to", "5"])
    #expect(try parse("-- --to -q").operands == ["--to", "-q"])
    #expect(try parse("- 80").operands == ["-", "80"])
  }

  @Test(arguments: [
    ("--too web", "unknown option '--too'"), ("-x", "unknown option '-x'"),
    ("--to", "option --to needs a value"),
    ("--to a --to b", "option --to is given twice"), ("--quiet=yes", "option --quiet takes no value"),
    ("--count 1 -c 2", "option -c is given twice"), ("-c1 -qc2", "option -c is given twice"),
    ("-qx", "unknown option '-x' in '-qx'"), ("-xq", "unknown option '-x' in '-xq'"),
    ("-q=yes", "unknown option '-=' in '-q=yes'"), ("-qc", "option -c needs a value"),
    ("-\u{1B}", "unknown option '-\\x1b'"), ("--=", "unknown option '--'"),
    ("80 --", "expected a command behind --"),
  ])
  func mistakes(line: String, message: String) {
    let failure = #expect(throws: Failure.self) { try parse(line, startsCommand: true) }
    #expect(failure?.status == .usage)
    #expect(failure?.message == message)
  }

  @Test func nearMissIsNamed() {
    let failure = #expect(throws: Failure.self) { try parse("--quite") }
    #expect(failure?.hint == "did you mean --quiet?")
    #expect(#expect(throws: Failure.self) { try parse("--q") }?.hint == nil)
  }
}

/// What stands before the command, and what is left for it.
@Suite struct CallTests {
  private func call(_ line: String) throws(Failure) -> Call {
    try Call(line.split(separator: " ").map(String.init))
  }

  @Test(arguments: [
    ("list 8080", "list", "8080"), ("--json list 8080", "list", "--json 8080"),
    ("-qv --state-dir list list -q", "list", "-qv --state-dir list -q"),
    ("--state-dir=/x -n map -- true", "map", "--state-dir=/x -n -- true"),
    ("-q -- list -- -h", "list", "-q -- -h"), ("-- list", "list", ""), ("-h list", "list", "-h"),
    ("map --to -h", "map", "--to -h"),
  ])
  func optionsBeforeTheCommandAreTheCommands(line: String, command: String, words: String) throws {
    let call = try call(line)
    #expect(call.command == command)
    #expect(call.words.joined(separator: " ") == words)
  }

  @Test func withoutACommand() throws {
    #expect(try call("-qh").leading == ["--quiet", "--help"])
    #expect(try call("-qh").command == nil)
    #expect(try call("--").command == nil)
    #expect(try call("-v --version").leading.contains("--version"))
    #expect(try call("list --version").leading.isEmpty)
  }

  @Test(arguments: [
    ("--to x map", "unknown option '--to'", "it goes behind the command: portmap map --to"),
    ("--count=2 alloc", "unknown option '--count'", "it goes behind the command: portmap alloc --count"),
    ("-x list", "unknown option '-x'", nil),
    ("--josn list", "unknown option '--josn'", "did you mean --json?"),
    ("--state-dir", "option --state-dir needs a value", nil),
  ])
  func mistakes(line: String, message: String, hint: String?) {
    let failure = #expect(throws: Failure.self) { try call(line) }
    #expect(failure?.status == .usage && failure?.message == message && failure?.hint == hint)
  }
}

@Suite struct CommandTableTests {
  @Test func noOptionTwice() {
    for command in CommandTable.commands {
      let names = command.allOptions.flatMap { [$0.name] + ($0.short.map { [$0] } ?? []) }
      #expect(Set(names).count == names.count, "\(command.name): \(names)")
      for option in command.allOptions {
        #expect(option.name.hasPrefix("--") && option.name.utf8.count > 3)
        #expect(option.short.map { $0.utf8.count == 2 && $0.hasPrefix("-") } ?? true)
        #expect(!option.help.isEmpty)
      }
    }
    #expect(Set(CommandTable.commands.map(\.name)).count == CommandTable.commands.count)
  }

  /// What a synopsis shows, the command knows.
  @Test func synopsesMentionKnownOptions() {
    for command in CommandTable.commands {
      #expect(!command.synopsis.isEmpty && !command.summary.isEmpty)
      for line in command.synopsis {
        #expect(line == command.name || line.hasPrefix(command.name + " "))
        let words = line.split { " []|.".contains($0) }.map(String.init)
        for word in words where word.hasPrefix("-") && word != "--" {
          let isKnown = command.allOptions.contains { $0.name == word || $0.short == word }
          #expect(isKnown, "\(command.name): \(word)")
        }
      }
    }
  }

  @Test func contractsCommandsAndOptions() {
    let contract = [
      "map": [
        "--to", "--host-ip", "--bridge", "--no-proxy", "--proxy-only", "--masquerade", "--proxy-protocol",
        "--range", "-n",
      ],
      "unmap": ["--if-exists", "--all", "-n"],
      "alloc": [
        "-c", "--host-ip", "--range", "--ip", "--name", "--bridge", "--subnet", "--netns", "-n",
        "--lend",
      ],
      "apply": ["--origin", "-n"],
      "list": [],
      "proxy": ["--proxy-protocol", "--udp-timeout"],
      "check": ["--probe"],
      "repair": ["-n"],
    ]
    #expect(Set(CommandTable.commands.map(\.name)) == Set(contract.keys))
    for (name, options) in contract {
      let known = CommandTable.command(name)?.allOptions.flatMap { [$0.name, $0.short ?? ""] } ?? []
      for option in options + ["-h", "--help", "--json", "-q", "--quiet", "-v", "--verbose", "--state-dir"] {
        #expect(known.contains(option), "\(name) \(option)")
      }
      #expect(known.contains("-n") == options.contains("-n"), "\(name) -n")
    }
    #expect(CommandTable.command("Map") == nil)
  }

  @Test func helpNamesEverything() {
    for command in CommandTable.commands {
      #expect(Help.overview.contains("  \(command.name) "))
      let text = Help.text(command)
      for option in command.allOptions { #expect(text.contains(option.name)) }
      // What stands for an operand is explained.
      let operands = Set(command.synopsis.flatMap { $0.split { !$0.isLetter } })
      for operand in operands.intersection(["SPEC", "PORTSPEC", "TARGET"]) {
        #expect(text.contains("A \(operand) is "), "\(command.name)")
      }
      #expect(text.contains("\nExample:\n  ") && command.example.line.contains("portmap \(command.name) "))
      let statuses = command.statuses.map(\.status.rawValue)
      #expect(statuses.starts(with: [0, 1, 2]) && statuses == statuses.sorted(), "\(command.name)")
      for status in statuses { #expect(text.contains("\n  \(status)  ")) }
      #expect(text.contains("\n  125 ") == command.takesCommand)
    }
  }

  /// Of 80 columns and 24 lines, the overview; commands with many options may be longer.
  @Test func helpFitsAScreen() {
    let overview = Help.overview.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(overview.count <= 24)
    #expect(overview.count { $0.hasPrefix("  portmap ") } == 3)
    for text in [Help.overview] + CommandTable.commands.map(Help.text) {
      for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
    }
  }
}

@Suite struct SpellingTests {
  private let commands = ["map", "unmap", "alloc", "list", "proxy"]

  @Test(arguments: [
    ("mpa", "map"), ("mapp", "map"), ("unmpa", "unmap"), ("aloc", "alloc"), ("lst", "list"),
    ("poxy", "proxy"),
    ("list", "list"),
  ])
  func near(word: String, expected: String) {
    #expect(Spelling.nearest(word, among: commands) == expected)
  }

  @Test(arguments: ["", "frobnicate", "status", "x", "help-me"])
  func far(_ word: String) {
    #expect(Spelling.nearest(word, among: commands) == nil)
  }

  @Test func noCandidates() {
    #expect(Spelling.nearest("map", among: []) == nil)
  }
}
