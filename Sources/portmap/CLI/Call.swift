/// A command line taken apart at its command: `portmap [OPTION...] COMMAND [WORD...]`.
struct Call {
  /// The names of the options in front of the command.
  private(set) var leading: [String] = []
  /// Nil where the words end before a command.
  private(set) var command: String?
  /// The words that are the command's own, the options in front of it included.
  private(set) var words: [String] = []

  init(_ all: [String]) throws(Failure) {
    var reader = ArgumentReader(all, options: CommandTable.leadingOptions)
    while command == nil, let argument = try Self.next(&reader) {
      switch argument {
      case .option(let option, _, _):
        leading.append(option.name)
        words = Array(all.dropLast(reader.words.count))
      case .operand(let word):
        command = word
        words += reader.words
      case .rest(let rest):
        command = rest.first
        words += rest.dropFirst()
      }
    }
  }

  /// Reads an option in front of the command; of one that only a command takes it says where it belongs.
  private static func next(_ reader: inout ArgumentReader) throws(Failure) -> Argument? {
    let word = reader.words.first ?? ""
    do {
      return try reader.next()
    } catch {
      let name = String(word.prefix { $0 != "=" })
      let owner = CommandTable.commands.first { $0.options.contains { $0.name == name || $0.short == name } }
      guard let owner else { throw error }
      throw .usage(error.message, hint: "it goes behind the command: portmap \(owner.name) \(name)")
    }
  }
}
