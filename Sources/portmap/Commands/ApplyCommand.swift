/// `portmap apply`: makes what files declare so.
enum ApplyCommand {
  /// - Parameter grammar: What a line can be.
  static func run(_ arguments: ParsedArguments, _ context: Context, _ grammar: DeclarationGrammar) throws {
    let files = try Failure.wrapping("apply") { try readFiles(arguments, context) }
    let declarations = try declarations(of: files, grammar, context)
    try Failure.wrapping("apply \(files.map(\.name).joined(separator: " "))") {
      let workspace = try Workspace.open(context.setting)
      var apply = Apply(declarations, from: files.map(\.name), workspace)
      let outcome = try apply.run(record)
      try report(outcome, order: files.map(\.name), context)
    }
  }

  // MARK: files

  private static func readFiles(_ arguments: ParsedArguments, _ context: Context) throws -> [DeclarationFile]
  {
    let operands = arguments.operands
    guard operands.count <= 1 else { throw Failure.usage("apply takes one file, not '\(operands[1])' too") }
    let name = arguments.value("--origin")
    if operands.first == "-" {
      guard let name else {
        throw Failure.usage(
          "standard input needs a name: two scripts would else release each other's ports",
          hint: "--origin NAME"
        )
      }
      guard Identifier.isName(name) else {
        throw Failure.usage(
          "invalid name '\(name)' for --origin: expected a letter or _, then up to 14 letters, digits, '_', '.' or '-'"
        )
      }
      return [try DeclarationFile(standardInputAs: name)]
    }
    if name != nil { throw Failure.usage("--origin goes with -, standard input: a file goes by its path") }
    if let path = operands.first {
      if path.isEmpty { throw Failure.usage("expected the path of a file, not ''") }
      return [try DeclarationFile(path: path)]
    }
    let paths = DeclarationFile.defaultPaths(context)
    guard !paths.isEmpty else {
      throw Failure(.failed, "cannot apply: neither XDG_CONFIG_HOME nor HOME is set")
    }
    return try paths.map { try DeclarationFile(path: $0) }
  }

  /// The declarations of all files; every mistake is named before the first thing is tried.
  private static func declarations(
    of files: [DeclarationFile],
    _ grammar: DeclarationGrammar,
    _ context: Context
  ) throws -> [Declaration] {
    var declarations: [Declaration] = []
    var mistakes: [Failure] = []
    for file in files {
      let read = file.declarations(grammar, context)
      declarations += read.declarations
      mistakes += read.mistakes
    }
    if mistakes.isEmpty { mistakes = declarations.mistakes.map { Failure($0, doing: "apply") } }
    guard let last = mistakes.popLast() else { return declarations }
    for mistake in mistakes { Output.report(mistake) }
    throw last
  }

  // MARK: results

  private static func record(_ declaration: Declaration, _ error: any Error) -> DeclarationFailure {
    let failure = Failure(error, doing: declaration.task)
    return DeclarationFailure(
      origin: declaration.origin,
      problem: failure.message,
      status: failure.status == .usage ? ExitStatus.failed.rawValue : failure.status.rawValue
    )
  }

  private static func report(_ outcome: Apply.Outcome, order: [String], _ context: Context) throws {
    let failures = outcome.failures.map { record($0.declaration, $0.error) }
    if context.json {
      try Output.json(ApplyDocument(outcome, failures, order))
    } else if !context.quiet {
      try Output.lines(ApplyChanges(outcome, order).lines)
    }
    for (declaration, error) in outcome.failures {
      Output.report(Failure(error, doing: declaration.task).at(declaration.origin))
    }
    guard let first = failures.first else { return }
    let isOfOneKind = failures.allSatisfy { $0.status == first.status }
    let status = isOfOneKind ? ExitStatus(rawValue: first.status) ?? .failed : .failed
    let count = failures.count == 1 ? "1 line" : "\(failures.count) lines"
    throw Failure(status, "\(count) could not be \(context.dryRun ? "made" : "made; the rest is done")")
  }
}

/// What apply has changed, or would.
private struct ApplyChanges {
  let added: [Item]
  let removed: [Item]

  enum Item {
    case mapping(MappingRecord)
    case reservation(ReservationRecord)
    case address(AllocatedAddress)

    var origin: Origin? {
      switch self {
      case .mapping(let record): record.mapping.origin
      case .reservation(let record): record.origin
      case .address(let address): address.origin
      }
    }

    /// The host ports that it stands on; nil for an address.
    var holding: Holding? {
      switch self {
      case .mapping(let record): .mapping(record.mapping)
      case .reservation(let record): .reservation(record.reservation)
      case .address: nil
      }
    }
  }

  /// - Parameter order: The names of the files in the order in which they were applied.
  init(_ outcome: Apply.Outcome, _ order: [String]) {
    let places = Dictionary(zip(order, 0...)) { first, _ in first }
    func place(_ item: Item) -> (Int, Int) { (places[item.origin?.name ?? ""] ?? 0, item.origin?.line ?? 0) }
    // A stable order: of the file, and within a line as in the state.
    let added = Self.difference(outcome.after, outcome.before).enumerated()
      .map { (place: place($0.element), number: $0.offset, item: $0.element) }
      .sorted { ($0.place.0, $0.place.1, $0.number) < ($1.place.0, $1.place.1, $1.number) }
    self.added = added.map(\.item)
    removed = Self.difference(outcome.before, outcome.after)
  }

  /// What one state has and the other has not.
  private static func difference(_ one: State, _ other: State) -> [Item] {
    let mappings = Set(other.mappings.map(\.id))
    let reservations = Set(other.reservations.map(\.id))
    let addresses = Set(other.addresses.map(\.ip))
    return one.addresses.filter { !addresses.contains($0.ip) }.map { .address($0) }
      + one.mappings.filter { !mappings.contains($0.id) }.map { .mapping($0) }
      + one.reservations.filter { !reservations.contains($0.id) }.map { .reservation($0) }
  }

  /// A line for each change; what has another form now is shown in that alone.
  var lines: [String] {
    struct Key: Hashable {
      let transport: Transport
      let hostIP: HostAddress
      let port: UInt16
    }
    func keys(_ item: Item) -> [Key] {
      guard let holding = item.holding else { return [] }
      return holding.ports.ports.map { Key(transport: holding.transport, hostIP: holding.hostIP, port: $0) }
    }
    let stays = Set(added.flatMap(keys))
    let gone = removed.filter { item in !keys(item).contains { stays.contains($0) } }
    return added.compactMap { Self.line($0, "mapped", "reserved") }
      + gone.compactMap { Self.line($0, "unmapped", "released") }
  }

  private static func line(_ item: Item, _ mapping: String, _ other: String) -> String? {
    switch item {
    case .mapping(let record): "\(mapping) \(record.mapping)"
    case .reservation(let record): "\(other) \(record.reservation)"
    case .address(let address): address.isImplicit ? nil : "\(other) \(address.title)"
    }
  }
}

/// What `apply --json` prints.
private struct ApplyDocument: Encodable {
  private let added: [ItemDocument]
  private let failed: [FailureDocument]
  private let removed: [ItemDocument]
  private let unchanged: Int

  init(_ outcome: Apply.Outcome, _ failures: [DeclarationFailure], _ order: [String]) {
    let changes = ApplyChanges(outcome, order)
    added = changes.added.map { ItemDocument($0, outcome.after) }
    removed = changes.removed.map { ItemDocument($0, outcome.before) }
    failed = failures.map {
      FailureDocument(file: $0.origin.name, line: $0.origin.line, problem: $0.problem, status: $0.status)
    }
    unchanged = outcome.unchanged
  }

  private struct FailureDocument: Encodable {
    let file: String
    let line: Int
    let problem: String
    let status: Int32
  }

  /// A mapping, a reservation or an address as `list --json` has it.
  private enum ItemDocument: Encodable {
    case mapping(MappingDocument)
    case reservation(ReservationDocument)
    case address(AddressDocument)

    init(_ item: ApplyChanges.Item, _ state: State) {
      switch item {
      case .mapping(let record): self = .mapping(MappingDocument(record, state))
      case .reservation(let record): self = .reservation(ReservationDocument(record, state))
      case .address(let address): self = .address(AddressDocument(address, state))
      }
    }

    func encode(to encoder: any Encoder) throws {
      switch self {
      case .mapping(let document): try document.encode(to: encoder)
      case .reservation(let document): try document.encode(to: encoder)
      case .address(let document): try document.encode(to: encoder)
      }
    }
  }
}
