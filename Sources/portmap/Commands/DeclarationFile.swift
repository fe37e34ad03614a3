import Glibc

/// A file with declarations, read and checked.
struct DeclarationFile {
  /// The path that it is known by, or the name that standard input was given.
  let name: String
  let bytes: [UInt8]

  /// Reads standard input, which goes by a name of the caller's choice.
  init(standardInputAs name: String) throws {
    self.name = name
    bytes = try Files.contents(of: Descriptor(owning: try syscall("dup") { dup(STDIN_FILENO) }))
  }

  /// Reads a file.
  ///
  /// - Throws: DeclarationFileError where it is missing, no regular file, or, for root, others can write to it.
  init(path: String) throws {
    name = Self.absolute(path)
    let raw = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard raw >= 0 else { throw DeclarationFileError(path: name, SystemError(call: "open", errno: errno)) }
    let file = Descriptor(owning: raw)
    var status = stat()
    guard fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw DeclarationFileError(path: name, problem: "it is not a regular file")
    }
    if geteuid() == 0 {
      try Self.check(status, name)
      try Self.checkFolders(of: name)
    }
    do {
      bytes = try Files.contents(of: file)
    } catch {
      throw DeclarationFileError(path: name, error)
    }
  }

  /// Makes a file of bytes that were read elsewhere.
  init(name: String, bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes
  }

  /// The paths of what `apply` without FILE applies: none where there is nothing.
  static func defaultPaths(_ context: Context) -> [String] {
    guard geteuid() == 0 else {
      let home = context.variable("HOME").map { $0 + "/.config" }
      guard let folder = context.variable("XDG_CONFIG_HOME") ?? home else { return [] }
      return ["\(folder)/portmap.conf"]
    }
    let main = "/etc/portmap.conf"
    let others = (Files.names(in: "/etc/portmap.d") ?? [])
      .filter { $0.hasSuffix(".conf") && !$0.hasPrefix(".") }.sorted().map { "/etc/portmap.d/\($0)" }
    return (Files.exists(main) || others.isEmpty ? [main] : []) + others
  }

  /// What root does must not be up to anybody else.
  private static func check(_ status: stat, _ path: String) throws(DeclarationFileError) {
    guard status.st_uid == 0 else {
      throw DeclarationFileError(path: path, problem: "it belongs to user \(status.st_uid), not to root")
    }
    guard status.st_mode & 0o022 == 0 else {
      let mode = String(status.st_mode & 0o7777, radix: 8)
      throw DeclarationFileError(path: path, problem: "others can write to it (mode \(mode))")
    }
  }

  /// Checks the folder in which the path stands, and that of the file behind links.
  private static func checkFolders(of path: String) throws(DeclarationFileError) {
    let real = realpath(path, nil)
    defer { free(real) }
    let paths = Set([path] + (real.map { [String(cString: $0)] } ?? []))
    for path in paths.sorted() {
      let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
      var status = stat()
      guard stat(folder.isEmpty ? "/" : folder, &status) == 0 else {
        throw DeclarationFileError(path: folder, SystemError(call: "stat", errno: errno))
      }
      try check(status, folder)
    }
  }

  /// The path from the root on without `.` and `..`, links as they are.
  private static func absolute(_ path: String) -> String {
    var names: [Substring] = []
    var start = ""
    if !path.hasPrefix("/"), let folder = getcwd(nil, 0) {
      defer { free(folder) }
      start = String(cString: folder) + "/"
    }
    for name in (start + path).split(separator: "/") {
      if name == ".." { _ = names.popLast() } else if name != "." { names.append(name) }
    }
    return "/" + names.joined(separator: "/")
  }
}

/// The options of the commands that a line can be, by the command's name.
struct DeclarationGrammar {
  let options: [String: [OptionDefinition]]

  /// Those that say how a command is run, and a port that would be somebody else's to bind.
  static let excluded: Set = [
    "--json", "--quiet", "--verbose", "--state-dir", "--help", "--dry-run", "--lend",
  ]
}

// MARK: lines

extension DeclarationFile {
  /// Reads the declarations line by line.
  ///
  /// - Returns: The mistakes instead, each with its line, where there are any.
  func declarations(_ grammar: DeclarationGrammar, _ context: Context) -> (
    declarations: [Declaration], mistakes: [Failure]
  ) {
    var declarations: [Declaration] = []
    var mistakes: [Failure] = []
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      let origin = Origin(name: name, line: index + 1)
      do {
        if let declaration = try Self.declaration(line, origin, grammar, context) {
          declarations.append(declaration)
        }
      } catch {
        let failure = Failure(error, doing: "read it")
        mistakes.append(.usage("\(origin): \(failure.message)", hint: failure.hint))
      }
    }
    return (declarations, mistakes)
  }

  private static func declaration(
    _ line: ArraySlice<UInt8>,
    _ origin: Origin,
    _ grammar: DeclarationGrammar,
    _ context: Context
  ) throws -> Declaration? {
    let words: [String]
    do {
      words = try ShellWords(line).words
    } catch {
      throw Failure.usage(error.description)
    }
    guard let name = words.first else { return nil }
    guard let options = grammar.options[name] else {
      throw Failure.usage(
        "expected map or alloc, not '\(name)'",
        hint: name == "portmap" ? "a line begins without the word portmap" : nil
      )
    }
    let arguments = try read(words.dropFirst(), options)
    if name == "map" {
      let task = "map \(arguments.operands.prefix(3).joined(separator: " "))"
      return Declaration(origin: origin, demand: .map(try MapRequest(arguments, context)), task: task)
    }
    if arguments.has("--ip") || arguments.has("--netns") {
      let request = try AddressRequest(arguments, context)
      return Declaration(origin: origin, demand: .address(request), task: request.task)
    }
    let request = try AllocRequest(arguments, context)
    return Declaration(origin: origin, demand: .ports(request), task: request.task(arguments.operands))
  }

  /// Takes the words apart as the command does, but for what has no place in a file.
  private static func read(
    _ words: ArraySlice<String>,
    _ options: [OptionDefinition]
  ) throws(Failure) -> ParsedArguments {
    var reader = ArgumentReader(words, options: options)
    while let argument = try reader.next() {
      switch argument {
      case .operand: continue
      case .rest: throw .usage("-- CMD has no place in a file")
      case .option(let option, let typed, _):
        if DeclarationGrammar.excluded.contains(option.name) {
          throw .usage("option \(typed) has no place in a file")
        }
      }
    }
    return try ParsedArguments(Array(words), options: options, startsCommand: true)
  }
}
