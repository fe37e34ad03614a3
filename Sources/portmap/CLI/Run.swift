import CLinux
import Foundation

/// From the words of the command line to an exit status.
enum Run {
  /// Runs a command and prints its failure, if any; dies of the signal that interrupted it, if one did.
  static func main(_ words: [String]) -> Int32 {
    openStandardDescriptors()
    signal(SIGPIPE, SIG_IGN)
    // Where a caller ignores it, and hands that on, the kernel keeps no child's exit status: failures would go unseen.
    signal(SIGCHLD, SIG_DFL)
    do {
      try dispatch(words)
      return ExitStatus.success.rawValue
    } catch let command as CommandEnded {
      return command.status
    } catch let interruption as Interruption {
      clinux_die_of(interruption.signal)
      return 128 + interruption.signal
    } catch {
      let failure = Failure(error, doing: words.first ?? "run")
      Output.report(failure)
      return failure.status.rawValue
    }
  }

  private static func dispatch(_ words: [String]) throws {
    guard let name = words.first else {
      throw Failure.usage("expected a command", hint: "portmap --help lists them")
    }
    if name == "help", words.count > 1 { return try dispatch([words[1], "--help"]) }
    if name == "--help" || name == "-h" || name == "help" { return try Output.write(Help.overview) }
    if name == "--version" { return try Output.write("portmap \(CommandTable.version)\n") }
    if name.hasPrefix("-") {
      throw Failure.usage("expected a command before '\(name)'", hint: "portmap --help lists them")
    }
    guard let command = CommandTable.command(name) else {
      let near = Spelling.nearest(name, among: CommandTable.commands.map(\.name))
      throw Failure.usage(
        "unknown command '\(name)'",
        hint: near.map { "did you mean \($0)?" } ?? "portmap --help lists the commands"
      )
    }
    let rest = Array(words.dropFirst())
    if rest.prefix(while: { $0 != "--" }).contains(where: { $0 == "--help" || $0 == "-h" }) {
      return try Output.write(Help.text(command))
    }
    let arguments = try ParsedArguments(
      rest,
      options: command.allOptions,
      startsCommand: command.takesCommand
    )
    if arguments.command?.isEmpty ?? false { throw Failure.usage("expected a command behind --") }
    if command.name != "proxy" { _ = clinux_catch_signals() }
    do {
      try command.run(arguments, Context(arguments, environment: ProcessInfo.processInfo.environment))
    } catch let failure as Failure where arguments.command != nil {
      throw failure.besideCommand
    }
  }

  /// Puts something in the place of standard descriptors that are closed, or the first file opened would take it:
  /// results and messages would end up there.
  private static func openStandardDescriptors() {
    while true {
      let descriptor = open("/dev/null", O_RDONLY)
      if descriptor > 2 {
        close(descriptor)
        return
      }
      if descriptor < 0 { return }
    }
  }
}
