/// The explanations that `--help` prints, made from the command table.
enum Help {
  /// Explains portmap in one screen.
  static var overview: String {
    let width = CommandTable.commands.map(\.name.count).max() ?? 0
    let commands = CommandTable.commands.map { "  \(padded($0.name, width))  \($0.summary)" }
    return """
      usage: portmap COMMAND [OPTION...] [OPERAND...]

      Maps ports of this host to any address, and reserves ports that no other
      process can take.

      \(commands.joined(separator: "\n"))

      A SPEC is [HOST_IP:][HOST[-END]]:BACKEND[-END][/PROTO], or just the backend's
      port; PROTO is tcp (the default), udp, sctp or tcp+udp.

        portmap map 8080:80 --to 172.16.42.2    8080 of every address leads to port 80
        portmap map 53:53/tcp+udp --to dns      to the namespace or address named dns
        portmap alloc -- ./server               a port that is nobody else's: its
                                                socket is passed on, $PORT names it

      portmap COMMAND --help explains a command, portmap --version tells the version.
      """ + "\n"
  }

  /// Explains one command.
  static func text(_ command: CommandDefinition) -> String {
    var text = command.synopsis.enumerated()
      .map { ($0 == 0 ? "usage: " : "       ") + "portmap " + $1 }.joined(separator: "\n")
    text += "\n\n\(command.summary.prefix(1).uppercased())\(command.summary.dropFirst()).\n\n"
    for paragraph in command.details {
      text += wrapped(paragraph, to: width).joined(separator: "\n") + "\n\n"
    }
    for (title, options) in [("Options", command.options), ("Every command", CommandTable.commonOptions)]
    where !options.isEmpty {
      text += "\(title):\n" + options.map(line).joined() + "\n"
    }
    text += "Example:\n  \(command.example.line)\n\(padded("", 6))\(command.example.effect)\n\n"
    return text + "Exit status:\n" + statuses(of: command).map { row($0, $1, column: 11) }.joined()
  }

  private static func statuses(of command: CommandDefinition) -> [(String, String)] {
    let own = command.statuses.map { ("\($0.status.rawValue)", $0.reason) }
    guard command.takesCommand else { return own }
    return own + [
      ("CMD's", "with -- CMD: its own status, 128+N when signal N ended it"),
      ("\(ExitStatus.besideCommand.rawValue)", "with -- CMD: portmap itself failed (a usage error stays 2)"),
      ("\(ExitStatus.commandNotRun.rawValue)", "with -- CMD: CMD could not be run"),
      ("\(ExitStatus.commandNotFound.rawValue)", "with -- CMD: CMD was not found"),
    ]
  }

  /// The column in which lines end.
  private static let width = 80

  private static func line(_ option: OptionDefinition) -> String {
    let names = [option.short, option.name].compactMap { $0 }.joined(separator: ", ")
    let help = option.help + (option.isRepeatable ? " (repeatable)" : "")
    return row(names + (option.value.map { " \($0)" } ?? ""), help, column: 26)
  }

  /// A term and its explanation, which begins in a column and goes on there in further lines.
  private static func row(_ term: String, _ explanation: String, column: Int) -> String {
    let form = "  \(term)"
    let lines = wrapped(explanation, to: width - column).map { padded("", column) + $0 }
    let rows =
      form.count > column - 2
      ? [form] + lines : [padded(form, column) + lines[0].dropFirst(column)] + lines.dropFirst()
    return rows.joined(separator: "\n") + "\n"
  }

  private static func wrapped(_ text: String, to width: Int) -> [String] {
    text.split(separator: " ").reduce(into: [""]) { lines, word in
      let last = lines[lines.count - 1]
      if last.isEmpty {
        lines[lines.count - 1] = String(word)
      } else if last.count + 1 + word.count <= width {
        lines[lines.count - 1] = "\(last) \(word)"
      } else {
        lines.append(String(word))
      }
    }
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}
