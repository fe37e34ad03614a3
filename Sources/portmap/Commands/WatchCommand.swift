/// `portmap apply --watch`: makes what files declare so, and keeps it so.
extension ApplyCommand {
  static func watch(_ arguments: ParsedArguments, _ context: Context) throws {
    for option in ["--dry-run", "--json"] where arguments.has(option) {
      throw Failure.usage("--watch and \(option) exclude each other")
    }
    if arguments.operands.first == "-" {
      throw Failure.usage("--watch needs a file that can be read again, not standard input")
    }
    let setting = Watcher.Setting(
      statePath: context.setting.statePath,
      passOptions: passOptions(arguments),
      environment: context.environment,
      readFiles: { DeclarationBundle.bytes(of: try filesToWatch(arguments, context)) },
      say: { Output.report($0.message, hint: $0.hint) },
      problem: { PassProblem(Failure($0, doing: "apply")) }
    )
    let outcome = try Failure.wrapping("watch") { try Watcher(setting).run() }
    if case .failed(let status) = outcome { throw CommandEnded(status: status) }
  }

  /// The files; none where none is named, and there is none.
  private static func filesToWatch(_ arguments: ParsedArguments, _ context: Context) throws
    -> [DeclarationFile]
  {
    let isAnyThere =
      !arguments.operands.isEmpty || DeclarationFile.defaultPaths(context).contains(where: Files.exists)
    return isAnyThere || arguments.has("--origin") ? try readFiles(arguments, context) : []
  }

  /// The words that every pass has in common with the command line.
  private static func passOptions(_ arguments: ParsedArguments) -> [String] {
    ["--quiet", "--verbose"].filter(arguments.has)
      + (arguments.value("--state-dir").map { ["--state-dir=\($0)"] } ?? [])
  }
}

extension PassProblem {
  init(_ failure: Failure) { self.init(message: failure.message, hint: failure.hint) }
}
