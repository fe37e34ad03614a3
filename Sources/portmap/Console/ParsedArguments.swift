/// An option of a command, as it is written, parsed and explained.
struct OptionDefinition: Sendable {
  let name: String
  var short: String?
  /// What stands for its value in the help; nil for a switch.
  var value: String?
  var isRepeatable = false
  let help: String
}

/// The words of a command line, sorted into options and operands.
struct ParsedArguments: Sendable {
  private var values: [String: [String]] = [:]
  private(set) var operands: [String] = []
  /// What stood behind `--` where that begins a command.
  private(set) var command: [String]?

  /// Options may come before or after operands; `--opt=value` and `--opt value` are the same.
  ///
  /// - Parameters:
  ///   - options: Those that the command knows.
  ///   - startsCommand: Whether `--` begins a command; elsewhere it only ends the options.
  init(_ words: [String], options: [OptionDefinition], startsCommand: Bool) throws(Failure) {
    var index = 0
    while index < words.count {
      let word = words[index]
      index += 1
      if word == "--" {
        if startsCommand {
          command = Array(words[index...])
        } else {
          operands += words[index...]
        }
        break
      }
      guard word.hasPrefix("-"), word != "-" else {
        operands.append(word)
        continue
      }
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let isLong = word.hasPrefix("--")
      let name = isLong ? parts[0] : word
      guard let option = options.first(where: { $0.name == name || $0.short == name }) else {
        try Self.refuse(name, options)
      }
      if option.value == nil {
        guard !isLong || parts.count == 1 else { throw .usage("option \(name) takes no value") }
        values[option.name] = [""]
        continue
      }
      guard let value = isLong && parts.count == 2 ? parts[1] : index < words.count ? words[index] : nil
      else {
        throw .usage("option \(name) needs a value")
      }
      if !(isLong && parts.count == 2) { index += 1 }
      guard option.isRepeatable || values[option.name] == nil else {
        throw .usage("option \(name) is given twice")
      }
      values[option.name, default: []].append(value)
    }
  }

  private static func refuse(_ name: String, _ options: [OptionDefinition]) throws(Failure) -> Never {
    let near = Spelling.nearest(name, among: options.map(\.name))
    throw .usage("unknown option '\(name)'", hint: near.map { "did you mean \($0)?" })
  }

  func has(_ option: String) -> Bool { values[option] != nil }
  func value(_ option: String) -> String? { values[option]?.last }
  func all(_ option: String) -> [String] { values[option] ?? [] }
}
