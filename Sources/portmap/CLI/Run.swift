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
    case .some(let name): try run(command(name), call.words)
    }
  }

  /// `portmap help [COMMAND]`.
  private static func explain(_ words: [String]) throws {
    let names = try ParsedArguments(words, options: CommandTable.commonOptions, startsCommand: false).operands
    guard names.count <= 1 else { throw Failure.usage("help explains one command at a time") }
    try Output.write(names.first.map { Help.text(try command($0)) } ?? Help.overview)
  }

  private static func command(_ name: String) throws(Failure) -> CommandDefinition {
    if let command = CommandTable.command(name) { return command }
    // Only the watcher hands a socket of its own over.
    if name == CommandTable.pass.name, UnixSocket.isOne(PassJob.channelDescriptor) {
      return CommandTable.pass
    }
    let near = Spelling.nearest(name, among: CommandTable.commands.map(\.name))
    throw .usage(
      "unknown command '\(name)'",
      hint: near.map { "did you mean \($0)?" } ?? "portmap --help lists the commands"
    )
  }

  private static func run(_ command: CommandDefinition, _ words: [String]) throws {
    if ParsedArguments.wantsHelp(words, options: command.allOptions) {
      return try Output.write(Help.text(command))
    }
    let arguments = try ParsedArguments(
      words,
      options: command.allOptions,
      startsCommand: command.takesCommand
    )
    if command.name != "proxy" { _ = clinux_catch_signals() }
    do {
      try Failure.wrapping(command.name) {
        try command.run(arguments, Context(arguments, environment: ProcessInfo.processInfo.environment))
      }
    } catch let failure as Failure where arguments.command != nil {
      throw failure.besideCommand
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
