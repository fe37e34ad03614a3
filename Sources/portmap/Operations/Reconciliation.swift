/// What has to be made and released so that what is declared is there: the comparison of declarations with a state.
///
/// Theory of operation. Each declaration asks for groups of ports (a spec; the same number on each host address and for
/// each transport), or for an address. First all groups take what is there exactly as they want it: the fixed ones what
/// stands on their ports, the automatic ones the first that fits. Then what is left over is paired with what is missing
/// by host address, port and transport, so that a port changes hands and is never free. What then is left over is
/// released. All of this is a matter of values: names are resolved by the caller.
struct Reconciliation {
  /// Something to be made for a declaration.
  struct Task {
    /// Which declaration it is of.
    let index: Int
    var needs: [Need] = []
    var backend = Backend.none
    /// What goes when it is made.
    var replaced = Selection()
    /// What has to be closed first: the ports overlap on other host addresses, where no socket can be handed on.
    var inTheWay = Selection()
  }

  /// Ports that a declaration lacks.
  struct Need {
    let request: PortRequest
    /// The ports that they lead to; nil for a reservation.
    let backendPorts: PortRange?
  }

  /// Where a declaration's mappings lead.
  enum Backend {
    case none
    case address(IPAddress)
    /// The next address of the bridge network.
    case implicit
    /// An address that an earlier line is to give out.
    case pending(String)
    case unknown(any Error)

    fileprivate var address: IPAddress? {
      if case .address(let address) = self { address } else { nil }
    }
  }

  private(set) var tasks: [Task] = []
  /// What is there as it is declared, with the line that declares it now.
  private(set) var unchanged: [String: Origin] = [:]
  private(set) var addresses: [IPAddress: Origin] = [:]
  /// What goes whatever becomes of the tasks.
  private(set) var released = Selection()
  /// Addresses that nobody declares any more and that mappings of others lead to.
  private(set) var kept: [(AllocatedAddress, MappingRecord)] = []

  private let state: State
  private let declarations: [Declaration]
  private let origins: Set<String>
  private let resolve: (String) -> Result<IPAddress, any Error>
  private var pool: ReconciliationPool

  /// - Parameters:
  ///   - origins: The names of the files that the declarations are all of.
  ///   - resolve: Finds the address of a network namespace that the state knows nothing of.
  init(
    of declarations: [Declaration],
    from origins: Set<String>,
    in state: State,
    resolve: @escaping (String) -> Result<IPAddress, any Error>
  ) {
    self.state = state
    self.declarations = declarations
    self.origins = origins
    self.resolve = resolve
    pool = ReconciliationPool(state, origins)
    var open: [OpenTask] = []
    for (index, declaration) in declarations.enumerated() {
      if case .address(let request) = declaration.demand { matchAddress(request, index, &open) }
    }
    for (index, declaration) in declarations.enumerated() {
      switch declaration.demand {
      case .address: break
      case .map(let request): open.append(OpenTask(index, backend(of: request, declaration), request.groups))
      case .ports(let request): open.append(OpenTask(index, .none, request.groups))
      }
    }
    for isFixed in [true, false] {
      for index in open.indices { matchExactly(&open[index], isFixed: isFixed) }
    }
    for isFixed in [true, false] { for index in open.indices { pair(&open[index], isFixed: isFixed) } }
    tasks = open.filter { !$0.isDone }.map(\.task).sorted { $0.index < $1.index }
    releaseTheRest()
    findWhatIsInTheWay()
  }

  /// Leaves out all tasks but some, and all that is released.
  mutating func keepTasks(_ isKept: (Task) -> Bool) {
    tasks = tasks.filter(isKept)
    released = Selection()
    kept = []
  }

  // MARK: addresses

  private mutating func matchAddress(_ request: AddressRequest, _ index: Int, _ open: inout [OpenTask]) {
    let origin = declarations[index].origin
    let found = state.addresses.first {
      $0.origin?.name == origin.name && !$0.isImplicit && $0.name == request.title
        && ($0.link != nil) == (request.namespace != nil) && addresses[$0.ip] == nil
        && (request.bridge == nil || request.bridge == $0.bridge)
    }
    if let found {
      addresses[found.ip] = origin
    } else {
      var task = OpenTask(index, .none, [])
      task.isAddress = true
      open.append(task)
    }
  }

  private func backend(of request: MapRequest, _ declaration: Declaration) -> Backend {
    guard let to = request.to else { return .implicit }
    if let address = IPAddress(to) { return .address(address) }
    if let known = state.addresses.first(where: { $0.name == to && isToStay($0, for: declaration) }) {
      return .address(known.ip)
    }
    if declarations.contains(where: { $0.title == to }) { return .pending(to) }
    switch resolve(to) {
    case .failure(let error): return .unknown(error)
    case .success(let address):
      let isGoing = state.addresses.contains { $0.ip == address && !isToStay($0, for: declaration) }
      return isGoing ? .unknown(OperationError.unknownBackend(to)) : .address(address)
    }
  }

  /// Whether an address is nothing that the declaration's own file has given up.
  private func isToStay(_ address: AllocatedAddress, for declaration: Declaration) -> Bool {
    address.origin?.name != declaration.origin.name || addresses[address.ip] != nil
  }

  // MARK: ports

  /// A declaration with those of its groups that have found nothing yet.
  private struct OpenTask {
    var task: Task
    var groups: [PortGroup]
    var isAddress = false
    var isDone: Bool { task.needs.isEmpty && !isAddress }

    init(_ index: Int, _ backend: Backend, _ groups: [PortGroup]) {
      task = Task(index: index, backend: backend)
      self.groups = groups
    }
  }

  private mutating func matchExactly(_ open: inout OpenTask, isFixed: Bool) {
    let origin = declarations[open.task.index].origin
    var left: [PortGroup] = []
    for group in open.groups {
      guard group.isFixed == isFixed else {
        left.append(group)
        continue
      }
      let task = open.task
      let ports = pool.candidate(for: group, origin) { ports in
        isFixed || group.members.allSatisfy { exact($0, ports, group, task, origin) != nil }
      }
      var rest = group
      if let ports { rest.members = takeExact(group, ports, origin, &open.task) }
      if !rest.members.isEmpty { left.append(rest) }
    }
    open.groups = left
  }

  /// Takes what stands on some ports exactly as a group wants it.
  ///
  /// - Returns: The members that are left.
  private mutating func takeExact(
    _ group: PortGroup,
    _ ports: PortRange,
    _ origin: Origin,
    _ task: inout Task
  ) -> [PortGroup.Member] {
    group.members.filter { member in
      guard let item = exact(member, ports, group, task, origin) else { return true }
      take(item, origin, &task)
      return false
    }
  }

  private func exact(
    _ member: PortGroup.Member,
    _ ports: PortRange,
    _ group: PortGroup,
    _ task: Task,
    _ origin: Origin
  ) -> ReconciliationPool.Item? {
    pool.items(member, ports).first { item in
      guard item.origin.name == origin.name else { return false }
      switch (item.kind, group.backendPorts) {
      case (.reservation, nil), (.takenOver, nil): return true
      case (.mapping(let mapping), let backendPorts?):
        guard mapping.backendPorts == backendPorts, let request = mapRequest(task),
          let delivery = try? request.delivery(from: member.hostIP, to: mapping.backendIP)
        else { return false }
        return delivery == mapping.delivery.asked && request.into == mapping.into?.name
          && isBackend(mapping.backendIP, task, request, origin)
      default: return false
      }
    }
  }

  private func mapRequest(_ task: Task) -> MapRequest? {
    if case .map(let request) = declarations[task.index].demand { request } else { nil }
  }

  private func isBackend(_ address: IPAddress, _ task: Task, _ request: MapRequest, _ origin: Origin) -> Bool
  {
    if let wanted = task.backend.address { return wanted == address }
    guard case .implicit = task.backend else { return false }
    return state.addresses.contains {
      $0.ip == address && $0.isImplicit && $0.origin?.name == origin.name
        && (request.bridge == nil || request.bridge == $0.bridge)
    }
  }

  private mutating func take(_ item: ReconciliationPool.Item, _ origin: Origin, _ task: inout Task) {
    pool.remove(item)
    unchanged[item.id] = origin
    guard case .mapping(let mapping) = item.kind, case .implicit = task.backend else { return }
    task.backend = .address(mapping.backendIP)
    addresses[mapping.backendIP] = origin
  }

  /// Pairs what a declaration still lacks with what nobody else wants as it is.
  private mutating func pair(_ open: inout OpenTask, isFixed: Bool) {
    let origin = declarations[open.task.index].origin
    for var group in open.groups where group.isFixed == isFixed {
      let ports = pool.candidate(for: group, origin) { _ in true }
      if !isFixed, let ports { group.members = takeExact(group, ports, origin, &open.task) }
      for member in group.members {
        let old = ports.map { pool.overlapping(member, $0) } ?? []
        for item in old {
          pool.remove(item)
          open.task.replaced.formUnion(item.selection)
        }
      }
      open.task.needs += group.needs(at: ports)
    }
    open.groups.removeAll { $0.isFixed == isFixed }
  }

  // MARK: what is left

  private mutating func releaseTheRest() {
    for item in pool.left { released.formUnion(item.selection) }
    let going = state.addresses.filter {
      !$0.isImplicit && $0.origin.map { origins.contains($0.name) } ?? false && addresses[$0.ip] == nil
    }
    for address in going {
      let user = state.mappings.first {
        $0.backendIP == address.ip && $0.mapping.origin?.name != address.origin?.name
          && !released.mappings.contains($0.id)
      }
      if let user { kept.append((address, user)) } else { released.addresses.insert(address.ip) }
    }
  }

  private mutating func findWhatIsInTheWay() {
    var going = released
    for task in tasks { going.formUnion(task.replaced) }
    guard !going.isEmpty else { return }
    let holdings =
      state.mappings.filter { going.mappings.contains($0.id) }.map { Holding.mapping($0.mapping) }
      + state.reservations.filter { going.reservations.contains($0.id) }.map {
        Holding.reservation($0.reservation)
      }
    for index in tasks.indices {
      for request in tasks[index].needs.map(\.request) {
        guard case .exactly(let ports) = request.choice else { continue }
        for holding in holdings
        where holding.ports.overlaps(ports) && request.transports.contains(holding.transport)
          && request.hosts.contains(where: { $0 != holding.hostIP && $0.overlaps(holding.hostIP) })
        {
          tasks[index].inTheWay.formUnion(Selection(holding))
        }
      }
    }
  }
}

extension Selection {
  fileprivate init(_ holding: Holding) {
    switch holding {
    case .mapping(let mapping): self.init(mappings: [mapping.id])
    case .reservation(let reservation): self.init(reservations: [reservation.id])
    }
  }
}
