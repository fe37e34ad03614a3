/// What earlier applies of the same files have made, as long as nobody wants it.
struct ReconciliationPool {
  /// A mapping or a reservation that an earlier apply has made.
  struct Item {
    enum Kind {
      case mapping(Mapping)
      case reservation
      /// A port whose reservation a mapping by hand has taken over.
      case takenOver
    }

    /// A reservation that was taken over has none of its own.
    let id: String
    let kind: Kind
    let origin: Origin
    let member: PortGroup.Member
    let ports: PortRange

    /// What is released when it goes.
    var selection: Selection {
      switch kind {
      case .mapping: Selection(mappings: [id])
      case .reservation: Selection(reservations: [id])
      case .takenOver: Selection()
      }
    }
  }

  private var items: [PortGroup.Member: [PortRange: [Item]]] = [:]
  /// The same in the order of the state, from the first on that is left.
  private var lines: [PortGroup.Member: (head: Int, items: [Item])] = [:]
  private var removed: Set<String> = []

  init(_ state: State, _ origins: Set<String>) {
    for record in state.mappings where record.status == .active {
      let member = PortGroup.Member(hostIP: record.hostIP, transport: record.transport)
      if let origin = record.mapping.origin, origins.contains(origin.name) {
        add(record.id, .mapping(record.mapping), origin, member, record.hostPorts)
      } else if let origin = record.mapping.tookOver, origins.contains(origin.name) {
        for port in record.hostPorts.ports {
          guard let ports = PortRange(first: port, count: 1) else { continue }
          add("\(record.id):\(port)", .takenOver, origin, member, ports)
        }
      }
    }
    for record in state.reservations {
      guard let origin = record.origin, origins.contains(origin.name) else { continue }
      let member = PortGroup.Member(hostIP: record.hostIP, transport: record.transport)
      add(record.id, .reservation, origin, member, record.reservation.ports)
    }
  }

  private mutating func add(
    _ id: String,
    _ kind: Item.Kind,
    _ origin: Origin,
    _ member: PortGroup.Member,
    _ ports: PortRange
  ) {
    let item = Item(id: id, kind: kind, origin: origin, member: member, ports: ports)
    items[member, default: [:]][ports, default: []].append(item)
    lines[member, default: (0, [])].items.append(item)
  }

  /// What is left on exactly these ports.
  func items(_ member: PortGroup.Member, _ ports: PortRange) -> [Item] { items[member]?[ports] ?? [] }

  /// What is left on any of these ports.
  func overlapping(_ member: PortGroup.Member, _ ports: PortRange) -> [Item] {
    if let same = items[member]?[ports], !same.isEmpty { return same }
    return (items[member] ?? [:]).filter { $0.key.overlaps(ports) }.flatMap(\.value)
  }

  /// The ports for a group: those that it names, or the first of earlier applies that it may have and that will do.
  func candidate(for group: PortGroup, _ origin: Origin, where willDo: (PortRange) -> Bool) -> PortRange? {
    if let ports = group.fixedPorts { return ports }
    for member in group.members {
      guard let line = lines[member] else { continue }
      let item = line.items[line.head...].first {
        !removed.contains($0.id) && $0.isMapping == (group.backendPorts != nil) && group.admits($0.ports)
          && $0.origin.name == origin.name && willDo($0.ports)
      }
      if let item { return item.ports }
    }
    return nil
  }

  /// Takes something out: somebody wants it.
  mutating func remove(_ item: Item) {
    removed.insert(item.id)
    items[item.member]?[item.ports]?.removeAll { $0.id == item.id }
    while let line = lines[item.member], line.head < line.items.count,
      removed.contains(line.items[line.head].id)
    {
      lines[item.member]?.head += 1
    }
  }

  /// What nobody has wanted.
  var left: [Item] { items.values.flatMap { $0.values.flatMap { $0 } } }
}

extension ReconciliationPool.Item {
  fileprivate var isMapping: Bool {
    if case .mapping = kind { true } else { false }
  }
}
