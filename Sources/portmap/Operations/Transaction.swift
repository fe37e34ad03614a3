/// Carries out a plan: the only way in which anything is made or taken away.
///
/// Theory of operation. Before the first thing is made, the state gets an intent: the removal of all that the plan
/// makes. Then rules, links, switches and the background process are made; then the next state replaces the old one, and
/// with it the intent becomes the removal of what the plan takes away; last that is carried out and the intent goes.
/// Whenever the command dies, the next one carries out the intent that it finds. When a step fails before the end, this
/// one does, and everything is as it was.
struct Transaction {
  private let workspace: Workspace
  private let plan: Plan
  private let sockets: HeldSockets
  private let failures: FailedRemovals

  /// What becomes of a removal that fails where the plan does nothing else.
  enum FailedRemovals {
    /// It is thrown, and keeps its record, so that the same command can be given again.
    case thrown
    /// It waits for a later command, as it does where the plan makes something too.
    case waiting
  }

  init(
    _ plan: Plan,
    _ workspace: Workspace,
    sockets: HeldSockets = HeldSockets(),
    failures: FailedRemovals = .thrown
  ) {
    self.plan = plan
    self.workspace = workspace
    self.sockets = sockets
    self.failures = failures
  }

  /// Makes what the plan makes, calls `report` with the next state, and takes away what the plan takes away.
  ///
  /// - Throws: What failed first, `report` included: everything made so far has then been undone. What could not be
  ///   undone is told as a notice and waits in the state.
  func carryOut(report: (State) throws -> Void = { _ in }) throws {
    let undoing = plan.making.undoing(variant: plan.next.firewallVariant)
    for notice in plan.notices { workspace.notify(notice) }
    if !undoing.isEmpty {
      try workspace.prepareFirewall(for: plan)
      workspace.state.intent = undoing
      try workspace.save(mayUseSpare: false)
    }
    do {
      try make()
      let holders = try launch()
      for holder in holders { try holder.client.begin() }
      try commit(holders.map(\.record), isLeading: workspace.lead(plan.making.connections))
      try report(workspace.state)
    } catch {
      undo(undoing)
      throw error
    }
    try finish()
  }

  private func make() throws {
    try Interruption.check()
    if !plan.making.change.isEmpty { try workspace.install(plan.making.change) }
    for link in plan.making.links {
      try Interruption.check()
      try workspace.network().carryOut(link)
    }
    for family in plan.making.forwarding.sorted(by: { $0.rawValue < $1.rawValue }) {
      for name in try Forwarding.enable(family) { workspace.notify(.turnedOn(name)) }
    }
    try Interruption.check()
    try Teardown(workspace).deleteFlows(plan.making.flows)
  }

  /// Starts the background processes and hands them the sockets.
  private func launch() throws -> [(record: HolderRecord, client: HolderClient)] {
    guard !plan.making.launches.isEmpty else { return [] }
    try Interruption.check()
    for (socket, reservation) in sockets.lent { try listenAgain(socket, reservation) }
    if sockets.wereServed { try silence() }
    return try plan.making.launches.map { launch in
      let (process, client) = try HolderLauncher.launch(
        id: launch.holder,
        in: workspace.folder.descriptor,
        say: { workspace.notify(.waiting($0)) }
      )
      if let namespace = launch.guest.flatMap({ sockets.namespaces[$0] }) { try client.enter(namespace) }
      try client.hold(launch.holdings.map { ($0, sockets.byHolding[$0.id] ?? []) })
      return (HolderRecord(id: launch.holder, process: process), client)
    }
  }

  /// Nobody is answered any more on ports that were served and are not to be.
  private func silence() throws {
    for holding in plan.making.holdings where !holding.isProxied {
      for socket in sockets.byHolding[holding.id] ?? [] { try PortSocket.silence(socket, holding.transport) }
    }
  }

  private func listenAgain(_ socket: Descriptor, _ reservation: Reservation) throws {
    guard try !PortSocket.takeBack(socket) else { return }
    throw AllocationError.inUse(port: "\(reservation)", transport: .tcp, number: reservation.port)
  }

  private func commit(_ holders: [HolderRecord], isLeading: Bool) throws {
    try Interruption.check()
    var next = isLeading ? plan.next : plan.next.withoutConnecting(plan.making.connections)
    next.holders += holders
    try workspace.adoptRules(of: plan.making.conditional, in: &next)
    next.intent = plan.removal.isEmpty ? nil : plan.removal
    next.rulesGeneration = workspace.state.rulesGeneration
    workspace.state = next
    try workspace.save(mayUseSpare: plan.making.isEmpty && !plan.removal.isEmpty)
  }

  /// Puts everything back as it was.
  private func undo(_ undoing: Removal) {
    workspace.state.restore(plan.before)
    workspace.settle(undoing) { .notUndone($0) }
    do {
      try workspace.save(mayUseSpare: true)
    } catch {
      workspace.notify(.notRecorded(error))
    }
  }

  /// Takes away what the plan takes away. What fails waits, unless that is all that it does and a caller wants to know.
  private func finish() throws {
    guard !plan.removal.isEmpty else { return }
    workspace.state.intent = nil
    if plan.making.isEmpty, failures == .thrown {
      let result = Teardown(workspace).carryOut(plan.removal)
      if let failure = result.failures.first {
        workspace.state.restore(plan.before.breaking(plan.next))
        try workspace.save(mayUseSpare: true)
        throw failure
      }
    } else {
      workspace.settle(plan.removal) { .removalWaits($0) }
    }
    try workspace.save(mayUseSpare: true)
  }
}

extension Making {
  /// Whether nothing is made.
  var isEmpty: Bool {
    change.isEmpty && links.isEmpty && forwarding.isEmpty && flows.isEmpty && connections.isEmpty
      && launches.isEmpty
  }
}
