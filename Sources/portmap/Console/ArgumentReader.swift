/// An option of a command, as it is written, parsed and explained.
struct OptionDefinition: Sendable {
  let name: String
  var short: String?
  /// The word that stands for its value in the help; nil for a switch.
  var value: String?
  var isRepeatable = false
  let help: String
}

/// A part of a command line.
enum Argument {
  /// An option as it was typed, `--to` or `-c`, and its value, which a switch has none of.
  /// Indirect, since the optimised program otherwise destroys `rest` as if it were this case (Swift 6.3.1).
  indirect case option(OptionDefinition, typed: String, value: String?)
  case operand(String)
  /// The words behind `--`.
  case rest([String])
}

/// Reads the words of a command line one argument at a time, as getopt(3) does.
///
/// `--opt=value` and `--opt value` are the same; short options may be joined (`-nv`) and hold their value (`-c2`).
struct ArgumentReader {
  /// The words that have not been read yet.
  private(set) var words: ArraySlice<String>
  private let options: [OptionDefinition]
  /// The word of joined short options that is being read, and its letters that have not been read yet.
  private var joined = ""
  private var letters: Substring = ""

  /// - Parameter options: Those that the command knows.
  init(_ words: some Sequence<String>, options: [OptionDefinition]) {
    self.words = Array(words)[...]
    self.options = options
  }

  /// Reads the next argument; nil at the end. After a mistake it goes on with the next word.
  mutating func next() throws(Failure) -> Argument? {
    if !letters.isEmpty { return try nextLetter() }
    guard let word = words.popFirst() else { return nil }
    if word == "--" {
      defer { words = [] }
      return .rest(Array(words))
    }
    guard word.hasPrefix("-"), word != "-" else { return .operand(word) }
    if word.hasPrefix("--") { return try long(word) }
    joined = word
    letters = word.dropFirst()
    return try nextLetter()
  }

  private mutating func long(_ word: String) throws(Failure) -> Argument {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let name = parts[0]
    guard let option = options.first(where: { $0.name == name }) else {
      let near = Spelling.nearest(name, among: options.map(\.name))
      throw .usage("unknown option '\(name)'", hint: near.map { "did you mean \($0)?" })
    }
    let attached = parts.count == 2 ? parts[1] : nil
    if option.value == nil {
      guard attached == nil else { throw .usage("option \(name) takes no value") }
      return .option(option, typed: name, value: nil)
    }
    let value = if let attached { attached } else { try nextValue(of: name) }
    return .option(option, typed: name, value: value)
  }

  private mutating func nextLetter() throws(Failure) -> Argument {
    let name = "-\(letters.removeFirst())"
    guard let option = options.first(where: { $0.short == name }) else {
      letters = ""
      throw .usage("unknown option '\(name)'" + (joined == name ? "" : " in '\(joined)'"))
    }
    guard option.value != nil else { return .option(option, typed: name, value: nil) }
    let attached = String(letters)
    letters = ""
    let value = attached.isEmpty ? try nextValue(of: name) : attached
    return .option(option, typed: name, value: value)
  }

  private mutating func nextValue(of name: String) throws(Failure) -> String {
    guard let value = words.popFirst() else { throw .usage("option \(name) needs a value") }
    return value
  }
}
