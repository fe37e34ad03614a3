/// The words behind a command, sorted into options and operands.
struct ParsedArguments: Sendable {
  private var values: [String: [String]] = [:]
  private(set) var operands: [String] = []
  /// The options with their values as they were typed, word by word.
  private(set) var optionWords: [String] = []
  /// The words behind `--` where these are a command to run; nil without `--`.
  private(set) var command: [String]?

  /// Options may come before or after operands.
  ///
  /// - Parameters:
  ///   - options: Those that the command knows.
  ///   - startsCommand: Whether `--` begins a command to run; elsewhere it only ends the options.
  /// - Throws: A usage failure for the first word that is none of these.
  init(_ words: [String], options: [OptionDefinition], startsCommand: Bool) throws(Failure) {
    var reader = ArgumentReader(words, options: options)
    while let argument = try reader.next() {
      switch argument {
      case .operand(let word): operands.append(word)
      case .rest(let words) where startsCommand: command = words
      case .rest(let words): operands += words
      case .option(let option, let typed, let value):
        guard value == nil || option.isRepeatable || values[option.name] == nil else {
          throw .usage("option \(typed) is given twice")
        }
        values[option.name, default: []].append(value ?? "")
        optionWords += [typed] + [value].compactMap { $0 }
      }
    }
    if command?.isEmpty ?? false { throw .usage("expected a command behind --") }
  }

  /// Whether the words ask for an explanation of the command, whatever else may be wrong with them.
  static func wantsHelp(_ words: [String], options: [OptionDefinition]) -> Bool {
    var reader = ArgumentReader(words, options: options)
    while true {
      do {
        guard let argument = try reader.next() else { return false }
        if case .option(let option, _, _) = argument, option.name == "--help" { return true }
      } catch {
        // A mistake is told to those who have not asked for help.
        continue
      }
    }
  }

  func has(_ option: String) -> Bool { values[option] != nil }
  func value(_ option: String) -> String? { values[option]?.last }
  func all(_ option: String) -> [String] { values[option] ?? [] }
}
