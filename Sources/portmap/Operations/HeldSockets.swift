/// Ports that are held for a plan.
struct HeldSockets {
  /// The sockets of each mapping and reservation, by its id.
  var byHolding: [String: [Descriptor]] = [:]
  /// Sockets that are lent, and listen again when they are taken over.
  var lent: [(socket: Descriptor, reservation: Reservation)] = []
  /// Whether sockets that others served are among them.
  var wereServed = false
  /// The namespaces that new background processes enter.
  var namespaces: [GuestNamespace: OpenedNamespace] = [:]
}

extension Workspace {
  /// An allocator that knows what this folder has given out.
  ///
  /// - Parameters:
  ///   - takesOver: Whether reserved ports may be taken over from the background processes that hold them.
  ///   - draft: A state that is to be, where it is not the one that is.
  func portAllocator(takesOver: Bool = false, in draft: State? = nil) -> PortAllocator {
    let state = draft ?? state
    return PortAllocator(
      ledger: PortLedger(
        mappings: state.mappings.map(\.mapping),
        reservations: state.reservations.map(\.reservation)
      ),
      reservedPorts: LocalPorts.reserved(),
      isForTaking: { takesOver && self.isForTaking($0) },
      takeOver: takeOver,
      cursors: state.cursors,
      isPreview: isPreview
    )
  }

  /// Whether a port is reserved, and held by a background process rather than by a command that runs.
  func isForTaking(_ owner: Holding) -> Bool {
    guard case .reservation(let reservation) = owner else { return false }
    return state.reservations.contains { $0.id == reservation.id && !$0.holder.isEmpty }
  }

  /// Fetches a port's socket from the process that holds it, which keeps its own until the plan stands.
  private func takeOver(_ owner: Holding, _ port: UInt16) throws -> Descriptor {
    let (holder, index) =
      switch owner {
      case .mapping(let mapping):
        (state.mappings.first { $0.id == mapping.id }?.holder, Int(port) - Int(mapping.hostPorts.first))
      case .reservation(let reservation):
        (state.reservations.first { $0.id == reservation.id }?.holder, 0)
      }
    let client = try HolderClient.connect(to: holder ?? "", in: folder.descriptor)
    guard let sockets = try client?.take(owner.id), sockets.indices.contains(index) else {
      throw HolderError(id: holder ?? "", problem: .gone(with: "port \(port)"))
    }
    return sockets[index]
  }
}

extension Workspace {
  /// Copies of a holding's sockets, from the process that holds them.
  func sockets(of holding: Holding) throws -> [Descriptor] {
    let id =
      state.mappings.first { $0.id == holding.id }?.holder
      ?? state.reservations.first { $0.id == holding.id }?.holder ?? ""
    guard let client = try HolderClient.connect(to: id, in: folder.descriptor) else {
      throw HolderError(id: id, problem: .gone(with: "\(holding)"))
    }
    return try client.take(holding.id)
  }
}

/// New ids, none of which a state knows.
struct NewIdentifiers {
  private var taken: Set<String>

  init(besides state: State) {
    taken = Set(state.mappings.map(\.id) + state.reservations.map(\.id) + state.holders.map(\.id))
  }

  mutating func next() -> String {
    let id = Identifier.make(unless: taken.contains)
    taken.insert(id)
    return id
  }
}
