/// What apply has changed, or would.
struct ApplyChanges {
  let added: [Item]
  let removed: [Item]

  /// A mapping, a reservation or an address.
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
struct ApplyDocument: Encodable {
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
