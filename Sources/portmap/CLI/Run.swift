import CLinux
import Foundation

/// The way from the words of the command line to an exit status.
enum Run {
  /// Runs a command and prints its failure, if any; dies of the signal that interrupted it, if one did.
  static func main(_ words: [String]) -> Int32 {
    openStandardDescriptors()
    signal(SIGPIPE, SIG_IGN)
    // Where a caller ignores it, and hands that on, the kernel keeps no child's exit status: failures would go unseen.
    signal(SIGCHLD, SIG_DFL)
    if words.isEmpty {
      Output.writeError(Help.overview)
      return ExitStatus.usage.rawValue
    }
    do {
      try dispatch(words)
      return ExitStatus.success.rawValue
    } catch let command as CommandEnded {
      return command.status
    } catch let interruption as Interruption {
      clinux_die_of(interruption.signal)
      return 128 + interruption.signal
    } catch {
      let failure = Failure(error, doing: "run")
      Output.report(failure)
      return failure.status.rawValue
    }
  }

  /// Runs as CNI's portmap plugin, and dies of the signal that interrupted it, if one did.
  static func plugin() -> Int32 {
    // A standard input that is not there is a failure to read, not an empty configuration.
    openStandardDescriptors(input: O_WRONLY)
    signal(SIGPIPE, SIG_IGN)
    signal(SIGCHLD, SIG_DFL)
    _ = clinux_catch_signals()
    do {
      var plugin = CNIPlugin(ProcessInfo.processInfo.environment) { Output.say($0.description) }
      return try plugin.run()
    } catch {
      if let interruption = error as? Interruption { clinux_die_of(interruption.signal) }
      return ExitStatus.failed.rawValue
    }
  }

  private static func dispatch(_ words: [String]) throws {
    let call = try Call(words)
    if call.leading.contains("--version") { return try Output.write("portmap \(CommandTable.version)\n") }
    switch call.command {
    case nil where call.leading.contains("--help"): try Output.write(Help.overview)
    case nil: throw Failure.usage("expected a command", hint: "portmap --help lists the commands")
    case "help": try explain(call.words)
    case .some(let name): try run(command(name, call.words), call.words)
    }
  }

  /// `portmap help [COMMAND]`.
  private static func explain(_ words: [String]) throws {
    let names = try ParsedArguments(words, options: CommandTable.commonOptions, startsCommand: false).operands
    guard names.count <= 1 else { throw Failure.usage("help explains one command at a time") }
    try Output.write(names.first.map { Help.text(try command($0, [])) } ?? Help.overview)
  }

  /// - Parameter words: Those around the name, for the hint where there is no such command.
  private static func command(_ name: String, _ words: [String]) throws(Failure) -> CommandDefinition {
    if let command = CommandTable.command(name) { return command }
    // Only the watcher hands a socket of its own over.
    if name == CommandTable.pass.name, UnixSocket.isOne(PassJob.channelDescriptor) {
      return CommandTable.pass
    }
    let near = Spelling.nearest(name, among: CommandTable.commands.map(\.name)).map { "did you mean \($0)?" }
    throw .usage(
      "unknown command '\(name)'",
      hint: near ?? mapping([name] + words) ?? "portmap --help lists the commands"
    )
  }

  /// The call of map that words may have been meant as: the command is left out, or they are docker's.
  private static func mapping(_ words: [String]) -> String? {
    guard let options = CommandTable.command("map")?.allOptions else { return nil }
    if let command = MapCorrection.withoutPublish(words, options: options) { return command }
    guard words.first?.contains(where: \.isNumber) ?? false,
      let arguments = try? ParsedArguments(words, options: options, startsCommand: true)
    else { return nil }
    return MapCorrection(arguments).command
  }

  private static func run(_ command: CommandDefinition, _ words: [String]) throws {
    if ParsedArguments.wantsHelp(words, options: command.allOptions) {
      return try Output.write(Help.text(command))
    }
    let arguments = try arguments(of: command, words)
    if command.name != "proxy" { _ = clinux_catch_signals() }
    do {
      let context = try Context(arguments, environment: ProcessInfo.processInfo.environment)
      // What serves, or runs a command that has the terminal, is not at work on anything that ends.
      let isLasting =
        ["proxy", CommandTable.pass.name].contains(command.name) || arguments.command != nil
        || arguments.has("--watch")
      try Failure.wrapping(command.name) {
        guard !isLasting else { return try command.run(arguments, context) }
        let task = [command.name] + arguments.operands.prefix(3)
        try Progress.during(task.joined(separator: " ")) { try command.run(arguments, context) }
      }
    } catch let failure as Failure where arguments.command != nil {
      throw failure.besideCommand
    }
  }

  private static func arguments(of command: CommandDefinition, _ words: [String]) throws(Failure)
    -> ParsedArguments
  {
    do {
      return try ParsedArguments(words, options: command.allOptions, startsCommand: command.takesCommand)
    } catch {
      guard command.name == "map", error.hint == nil else { throw error }
      throw error.adding(hint: MapCorrection.withoutPublish(words, options: command.allOptions))
    }
  }

  /// Puts something in the place of standard descriptors that are closed, or the first file opened would take it:
  /// results and messages would end up there.
  private static func openStandardDescriptors(input: Int32 = O_RDONLY) {
    while true {
      let descriptor = open("/dev/null", fcntl(STDIN_FILENO, F_GETFD) < 0 ? input : O_RDONLY)
      if descriptor > 2 {
        close(descriptor)
        return
      }
      if descriptor < 0 { return }
    }
  }
}
