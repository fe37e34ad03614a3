/// `portmap apply`: makes what files declare so.
enum ApplyCommand {
  /// - Parameter grammar: What a line can be.
  static func run(_ arguments: ParsedArguments, _ context: Context, _ grammar: DeclarationGrammar) throws {
    if arguments.has("--watch") { return try watch(arguments, context) }
    let files = try Failure.wrapping("apply") { try readFiles(arguments, context) }
    let declarations = try refusingMistakes(Self.declarations(of: files, grammar, context))
    try Failure.wrapping("apply \(files.map(\.name).joined(separator: " "))") {
      let workspace = try Workspace.open(context.setting)
      var apply = Apply(declarations, from: files.map(\.name), workspace)
      let outcome = try apply.run(record)
      try report(outcome, order: files.map(\.name), context)
    }
  }

  // MARK: files

  /// Reads the files that the command line names, or those that go without saying.
  static func readFiles(_ arguments: ParsedArguments, _ context: Context) throws -> [DeclarationFile] {
    let operands = arguments.operands
    guard operands.count <= 1 else { throw Failure.usage("apply takes one file, not '\(operands[1])' too") }
    let name = arguments.value("--origin")
    if operands.first == "-" {
      guard let name else {
        throw Failure.usage(
          "standard input needs a name: two scripts would else release each other's ports",
          hint: "--origin NAME"
        )
      }
      guard Identifier.isName(name) else {
        throw Failure.usage(
          "invalid name '\(name)' for --origin: expected a letter or _, then up to 14 letters, digits, '_', '.' or '-'"
        )
      }
      return [try DeclarationFile(standardInputAs: name)]
    }
    if name != nil { throw Failure.usage("--origin goes with -, standard input: a file goes by its path") }
    if let path = operands.first {
      if path.isEmpty { throw Failure.usage("expected the path of a file, not ''") }
      return [try DeclarationFile(path: path)]
    }
    let paths = DeclarationFile.defaultPaths(context)
    guard !paths.isEmpty else {
      throw Failure(.failed, "cannot apply: neither XDG_CONFIG_HOME nor HOME is set")
    }
    return try paths.map { try DeclarationFile(path: $0) }
  }

  /// The declarations of all files, and every mistake in them.
  static func declarations(
    of files: [DeclarationFile],
    _ grammar: DeclarationGrammar,
    _ context: Context
  ) -> (declarations: [Declaration], mistakes: [Failure]) {
    var declarations: [Declaration] = []
    var mistakes: [Failure] = []
    for file in files {
      let read = file.declarations(grammar, context)
      declarations += read.declarations
      mistakes += read.mistakes
    }
    if mistakes.isEmpty { mistakes = declarations.mistakes.map { Failure($0, doing: "apply") } }
    return (declarations, mistakes)
  }

  /// Names every mistake before the first thing is tried.
  private static func refusingMistakes(_ read: (declarations: [Declaration], mistakes: [Failure])) throws
    -> [Declaration]
  {
    guard let last = read.mistakes.last else { return read.declarations }
    // One hint among many lines would look like another mistake.
    for mistake in read.mistakes.dropLast() { Output.report(mistake.withoutHint) }
    throw last
  }

  // MARK: results

  /// Puts the failure of a line into what the state records of it.
  static func record(_ declaration: Declaration, _ error: any Error) -> DeclarationFailure {
    let failure = Failure(error, doing: declaration.task)
    return DeclarationFailure(
      origin: declaration.origin,
      problem: failure.message,
      status: failure.status == .usage ? ExitStatus.failed.rawValue : failure.status.rawValue
    )
  }

  private static func report(_ outcome: Apply.Outcome, order: [String], _ context: Context) throws {
    let failures = outcome.failures.map { record($0.declaration, $0.error) }
    if context.json {
      try Output.json(ApplyDocument(outcome, failures, order))
    } else if !context.quiet {
      try Output.lines(ApplyChanges(outcome, order).lines)
    }
    for (declaration, error) in outcome.failures {
      Output.report(Failure(error, doing: declaration.task).at(declaration.origin))
    }
    guard let first = failures.first else { return }
    let isOfOneKind = failures.allSatisfy { $0.status == first.status }
    let status = isOfOneKind ? ExitStatus(rawValue: first.status) ?? .failed : .failed
    let count = failures.count == 1 ? "1 line" : "\(failures.count) lines"
    throw Failure(status, "\(count) could not be \(context.dryRun ? "made" : "made; the rest is done")")
  }
}
