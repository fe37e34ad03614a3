/// What a pass tells the watcher that has started it. Both are the same program, so this has no version.
enum PassMessage: Equatable {
  case problem(PassProblem)
  case processes([WatchedProcess])
  /// The last message; without it the pass has died.
  case end(PassEnd)
}

/// Something that could not be done, in words.
struct PassProblem: Equatable {
  let message: String
  let hint: String?
}

/// A background process that the state records.
struct WatchedProcess: Equatable {
  let id: String
  /// What the processes that take each other's place have in common: the first id of all that they hold.
  let line: String
  let process: ProcessIdentity
}

/// How a pass has ended, and what there is to be watched now.
struct PassEnd: Equatable {
  /// The status that a command would have ended with; that of single declarations does not count.
  var status: Int32 = 0
  /// Whether there is a mistake in the files, so that nothing was tried.
  var isMistaken = false
  /// Whether the state was removed before the pass or while it ran.
  var isLost = false
  /// Whether what follows is known: where the state cannot be read, it is not.
  var hasFacts = false
  /// Whether there are declarations that could not be made.
  var hasFailures = false
  /// Whether something that is recorded could not be mended.
  var hasLosses = false
  /// Whether links or addresses are recorded.
  var hasLinks = false
  /// Whether rules are recorded.
  var hasRules = false
  /// Whether these rules are in nftables, which tells of changes.
  var isNFTables = false
  /// The generation of the rules at which nothing was different; nil where that is not known.
  var rulesGeneration: UInt32?
  /// The state file as the pass has left it.
  var mark: StateMark?
}

// MARK: as bytes

extension PassMessage {
  /// How many processes one message takes.
  static let processesPerMessage = 200

  private static let separator = Character("\0")

  /// The message as it is sent: words, of which the first one tells its kind.
  var bytes: [UInt8] { Array(text.utf8) }

  private var text: String {
    switch self {
    case .problem(let problem):
      "problem\0" + problem.message + (problem.hint.map { "\0\($0)" } ?? "")
    case .processes(let processes):
      (["processes"]
        + processes.map { "\($0.id) \($0.line) \($0.process.pid) \($0.process.startTime)" })
        .joined(separator: "\0")
    case .end(let end):
      "end\0" + end.text
    }
  }

  init?(_ bytes: [UInt8]) {
    let parts = String(decoding: bytes, as: UTF8.self)
      .split(separator: Self.separator, omittingEmptySubsequences: false).map(String.init)
    switch (parts.first, parts.count) {
    case ("problem", 2): self = .problem(PassProblem(message: parts[1], hint: nil))
    case ("problem", 3): self = .problem(PassProblem(message: parts[1], hint: parts[2]))
    case ("processes", _):
      let processes = parts.dropFirst().compactMap(WatchedProcess.init(text:))
      guard processes.count == parts.count - 1 else { return nil }
      self = .processes(processes)
    case ("end", 2):
      guard let end = PassEnd(text: parts[1]) else { return nil }
      self = .end(end)
    default: return nil
    }
  }
}

extension WatchedProcess {
  fileprivate init?(text: String) {
    let words = text.split(separator: " ")
    guard words.count == 4, let pid = Int32(words[2]), let start = UInt64(words[3]) else { return nil }
    self.init(
      id: String(words[0]),
      line: String(words[1]),
      process: ProcessIdentity(pid: pid, startTime: start)
    )
  }
}

extension PassEnd {
  private static let flags: [(String, WritableKeyPath<PassEnd, Bool> & Sendable)] = [
    ("mistaken", \.isMistaken), ("lost", \.isLost), ("facts", \.hasFacts), ("failures", \.hasFailures),
    ("losses", \.hasLosses),
    ("links", \.hasLinks),
    ("rules", \.hasRules), ("nftables", \.isNFTables),
  ]

  fileprivate var text: String {
    var words = ["status=\(status)"] + Self.flags.filter { self[keyPath: $0.1] }.map(\.0)
    if let rulesGeneration { words.append("generation=\(rulesGeneration)") }
    if let mark { words.append("mark=\(mark.inode):\(mark.seconds):\(mark.nanoseconds)") }
    return words.joined(separator: " ")
  }

  fileprivate init?(text: String) {
    self.init()
    for word in text.split(separator: " ") {
      if let flag = Self.flags.first(where: { $0.0 == word }) {
        self[keyPath: flag.1] = true
        continue
      }
      let parts = word.split(separator: "=")
      guard parts.count == 2 else { return nil }
      switch parts[0] {
      case "status":
        guard let number = Int32(parts[1]) else { return nil }
        status = number
      case "generation":
        guard let number = UInt32(parts[1]) else { return nil }
        rulesGeneration = number
      case "mark":
        let numbers = parts[1].split(separator: ":").compactMap { Int64($0) }
        guard numbers.count == 3, let inode = UInt64(exactly: numbers[0]) else { return nil }
        mark = StateMark(inode: inode, seconds: numbers[1], nanoseconds: numbers[2])
      default: return nil
      }
    }
  }
}
