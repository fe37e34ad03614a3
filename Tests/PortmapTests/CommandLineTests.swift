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

  @Test func valuesAreTakenAsTheyAre() throws {
    #expect(try parse("--to --quiet").value("--to") == "--quiet")
    #expect(try parse("--to=a=b").value("--to") == "a=b")
    #expect(try parse("--to=").value("--to") == "")
    #expect(try parse("--to -- 80").value("--to") == "--")
  }

  @Test func twoDashesBeginACommandOrEndTheOptions() throws {
    let command = try parse("80 -- sleep --to 5", startsCommand: true)
    #expect(command.operands == ["80"])
    #expect(command.command == ["sleep", "--to", "5"])
    #expect(try parse("80 --", startsCommand: true).command == [])
    #expect(try parse("-- --to -q").operands == ["--to", "-q"])
    #expect(try parse("- 80").operands == ["-", "80"])
  }

  @Test(arguments: [
    ("--too web", "unknown option '--too'"), ("-x", "unknown option '-x'"),
    ("--to", "option --to needs a value"),
    ("--to a --to b", "option --to is given twice"), ("--quiet=yes", "option --quiet takes no value"),
    ("--count 1 -c 2", "option -c is given twice"), ("-c3", "unknown option '-c3'"),
  ])
  func mistakes(line: String, message: String) {
    let failure = #expect(throws: Failure.self) { try parse(line) }
    #expect(failure?.status == .usage)
    #expect(failure?.message == message)
  }

  @Test func nearMissIsNamed() {
    let failure = #expect(throws: Failure.self) { try parse("--quite") }
    #expect(failure?.hint == "did you mean --quiet?")
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
      "list": [],
      "proxy": ["--proxy-protocol", "--udp-timeout"],
      "check": [],
      "repair": ["-n"],
    ]
    #expect(Set(CommandTable.commands.map(\.name)) == Set(contract.keys))
    for (name, options) in contract {
      let known = CommandTable.command(name)?.allOptions.flatMap { [$0.name, $0.short ?? ""] } ?? []
      for option in options + ["-h", "--help", "--json", "-q", "--quiet", "-v", "--verbose", "--state-dir"] {
        #expect(known.contains(option), "\(name) \(option)")
      }
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
