/// Ports that are held for a plan.
struct HeldSockets {
  /// The sockets of each mapping and reservation, by its id.
  var byHolding: [String: [Descriptor]] = [:]
  /// Sockets that are lent, and listen again when they are taken over.
  var lent: [(socket: Descriptor, reservation: Reservation)] = []
}

extension Workspace {
  /// An allocator that knows what this folder has given out.
  ///
  /// - Parameter takesOver: Whether reserved ports may be taken over from the background processes that hold them.
  func portAllocator(takesOver: Bool = false) -> PortAllocator {
    PortAllocator(
      ledger: PortLedger(
        mappings: state.mappings.map(\.mapping),
        reservations: state.reservations.map(\.reservation)
      ),
      reservedPorts: LocalPorts.reserved(),
      isForTaking: { takesOver && self.holder(of: $0) != nil },
      takeOver: takeOver,
      cursors: state.cursors,
      isPreview: isPreview
    )
  }

  /// The background process that has a reservation's socket; nil where a command that runs has it itself.
  private func holder(of reservation: Reservation) -> String? {
    let record = state.reservations.first { $0.id == reservation.id }
    return record.flatMap { $0.holder.isEmpty ? nil : $0.holder }
  }

  /// Fetches a reserved port's socket from the process that holds it, which keeps its own until the plan stands.
  private func takeOver(_ reservation: Reservation) throws -> Descriptor {
    let holder = holder(of: reservation) ?? ""
    let client = try HolderClient.connect(to: holder, in: folder.descriptor)
    guard let socket = try client?.take(reservation.id).first else {
      throw HolderError(id: holder, problem: .gone(with: "\(reservation)"))
    }
    return socket
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
