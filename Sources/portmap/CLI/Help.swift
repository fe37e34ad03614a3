/// The help texts, made from the command table.
enum Help {
  /// One screen about everything.
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

  /// All about one command.
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
    return String(text.dropLast())
  }

  /// Where the explanations begin, and where lines end.
  private static let column = 26
  private static let width = 80

  private static func line(_ option: OptionDefinition) -> String {
    let names = [option.short, option.name].compactMap { $0 }.joined(separator: ", ")
    let form = "  " + names + (option.value.map { " \($0)" } ?? "")
    let help = wrapped(option.help + (option.isRepeatable ? " (repeatable)" : ""), to: width - column)
    let indent = padded("", column)
    let lines =
      form.count > column - 2
      ? [form] + help.map { indent + $0 }
      : help.enumerated().map { ($0 == 0 ? padded(form, column) : indent) + $1 }
    return lines.joined(separator: "\n") + "\n"
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
