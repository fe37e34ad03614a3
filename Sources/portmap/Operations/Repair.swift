import Glibc

/// Mends what an inspection finds: each difference becomes a plan or a removal. Each step is tried, whatever becomes of
/// the others.
struct Repair {
  private let workspace: Workspace
  /// What was done.
  private(set) var done: [Mended] = []
  /// Why something could not be mended, but for what could not be held again.
  private(set) var otherFailures: [any Error] = []
  /// The ids of what could not be held again, each with the reason.
  private(set) var lost: [String: any Error] = [:]
  /// Why anything could not be mended; a namespace that several ports lead into is named once.
  var failures: [any Error] {
    var named: Set<NamespaceName> = []
    let reasons = lost.sorted { $0.key < $1.key }.map(\.value).filter { error in
      (error as? NamespaceError).map { named.insert($0.name).inserted } ?? true
    }
    return reasons + otherFailures
  }

  /// The ids of background processes that are left dead.
  private let spared: Set<String>

  /// - Parameter spared: The ids of background processes that are left dead for the time being.
  init(_ workspace: Workspace, sparing spared: Set<String> = []) {
    self.workspace = workspace
    self.spared = spared
  }

  private var state: State { workspace.state }

  /// Mends everything that can be mended.
  mutating func everything() {
    mend(rules: true) { try $0.differences() }
  }

  /// Mends what the state records, in less time: rules are looked at only where somebody has touched them, and things
  /// that the state does not know are left alone.
  mutating func whatIsRecorded() {
    mend(rules: !workspace.areRulesUntouched) { try $0.differencesOfRecords() }
  }

  private mutating func mend(rules: Bool, _ find: (Inspection) throws -> [Difference]) {
    attempt { try $0.finishRemovals() }
    do {
      let differences = try find(Inspection(workspace))
      attempt { try $0.endUnknown(differences) }
      attempt { try $0.restoreHolders(differences) }
      attempt { $0.restoreSockets(differences) }
      attempt { try $0.restoreLinks(differences) }
      if rules { attempt { try $0.restoreRules(differences) } }
      attempt { try $0.enableForwarding(differences) }
      attempt { try $0.restoreConnections(differences) }
    } catch {
      otherFailures.append(error)
    }
  }

  private mutating func attempt(_ step: (inout Repair) throws -> Void) {
    do {
      try step(&self)
    } catch {
      otherFailures.append(error)
    }
  }

  /// Removals that failed half-way are brought to their end.
  private mutating func finishRemovals() throws {
    let broken = state.mappings.filter { $0.status == .broken }
    guard !broken.isEmpty else { return }
    let selection = Selection(mappings: Set(broken.map(\.id)))
    try Transaction(.releasing(selection, from: state), workspace).carryOut()
    done += broken.map { .removed($0.mapping) }
  }

  /// Background processes and links that the state does not know go; what is held in excess is let go of.
  private mutating func endUnknown(_ differences: [Difference]) throws {
    for difference in differences {
      switch difference {
      case .processUnknown(let id):
        try takeAway(Removal(holders: [id]))
        done.append(.ended(id: id))
      case .linkUnknown(let link):
        try takeAway(Removal(links: [link]))
        done.append(.deletedLink(link))
      case .heldInExcess(let holdings, let holder):
        guard !state.holdings(of: holder.id).isEmpty else { continue }
        try takeAway(Removal(holdings: holdings.map { HoldingReference(holder: holder.id, id: $0.id) }))
        done.append(.letGo(holder))
      default: continue
      }
    }
  }

  private func takeAway(_ removal: Removal) throws {
    if let failure = Teardown(workspace).carryOut(removal).failures.first { throw failure }
  }

  // MARK: processes

  /// What no process holds any more is reserved again, and what leads into a namespace of former times is handed on: to
  /// one new process, and one for each namespace.
  private mutating func restoreHolders(_ differences: [Difference]) throws {
    var missing: [Holding] = []
    var replaced: [Holding] = []
    for difference in differences {
      switch difference {
      case .processDead(let record, let holdings) where !spared.contains(record.id): missing += holdings
      case .processSilent(let record, let holdings):
        record.process.kill()
        missing += holdings
      case .notHeld(let holding, _): missing.append(holding)
      case .namespaceReplaced(let holdings, _, _): replaced += holdings
      case .namespaceGone(let holdings, let error): lose(holdings, error)
      default: continue
      }
    }
    let held = try reserveAgain(missing)
    missing.removeAll { held.byHolding[$0.id] == nil }
    for (name, holdings) in Dictionary(grouping: missing + replaced, by: \.guest?.name) {
      attempt { try $0.hold(holdings, into: name, held, replaced: Set(replaced.map(\.id))) }
    }
    if missing.isEmpty, replaced.isEmpty { try dropUnused() }
  }

  private mutating func lose(_ holdings: [Holding], _ error: any Error) {
    for holding in holdings { lost[holding.id] = error }
  }

  /// Has a new process hold what leads into a namespace, or into none.
  ///
  /// - Parameters:
  ///   - held: The sockets of what was reserved again.
  ///   - replaced: The ids of what a process holds still, whose sockets are handed on.
  private mutating func hold(
    _ holdings: [Holding],
    into name: NamespaceName?,
    _ held: HeldSockets,
    replaced: Set<String>
  ) throws {
    var sockets = held
    var launch = Launch(holder: Identifier.make(unless: state.knows), holdings: holdings)
    do {
      let namespace = try name.map { name throws(NamespaceError) in try OpenedNamespace(name) }
      launch.guest = namespace?.guest
      if let namespace { sockets.namespaces[namespace.guest] = namespace }
      for holding in holdings where replaced.contains(holding.id) {
        sockets.byHolding[holding.id] = try workspace.sockets(of: holding)
      }
      try Transaction(.holdingAgain(launch, in: state), workspace, sockets: sockets).carryOut()
    } catch let error as NamespaceError {
      return lose(holdings, error)
    }
    for holding in holdings {
      let mended = name.flatMap { replaced.contains(holding.id) ? Mended.entered(holding, $0) : nil }
      done.append(mended ?? .held(holding))
    }
  }

  /// Background processes that are dead and had nothing to hold are struck out.
  private func dropUnused() throws {
    var plan = Plan(state)
    plan.endUnused(Set(state.holders.map(\.id)))
    if !plan.removal.isEmpty { try Transaction(plan, workspace).carryOut() }
  }

  private mutating func reserveAgain(_ holdings: [Holding]) throws -> HeldSockets {
    try DescriptorLimit.makeRoom(for: holdings.reduce(0) { $0 + $1.ports.count })
    var held = HeldSockets()
    for holding in holdings {
      do {
        held.byHolding[holding.id] = try PortSocket.reserveAll(holding)
      } catch {
        lost[holding.id] = AllocationError.lost(
          port: "\(holding)",
          holding.transport,
          holding.ports.first,
          error
        )
      }
    }
    return held
  }

  /// Reserved ports that answer, or do not listen, are put back behind their filter.
  private mutating func restoreSockets(_ differences: [Difference]) {
    for case .socketAltered(let holding, let holder, _) in differences {
      attempt { repair in
        try repair.takeAway(Removal(restored: [HoldingReference(holder: holder.id, id: holding.id)]))
        repair.done.append(.restoredSocket(holding))
      }
    }
  }

  // MARK: links, rules, forwarding

  private mutating func restoreLinks(_ differences: [Difference]) throws {
    for difference in differences {
      // The former link may go by itself meanwhile, with the namespace; where it stays the new one cannot be made.
      if case .guestReplaced(let address) = difference, let link = address.link {
        try? takeAway(Removal(links: [link]))
      }
      guard let (link, what) = try LinkRepair(workspace).change(for: difference) else { continue }
      attempt { repair in
        var plan = Plan(repair.state)
        plan.making.links = [link]
        try Transaction(plan, repair.workspace).carryOut()
        repair.done.append(what)
      }
    }
  }

  private mutating func restoreRules(_ differences: [Difference]) throws {
    for case .firewallVariant(let recorded, let now) in differences {
      try moveRules(from: recorded, to: now)
    }
    // Asked anew: the rules of links and mappings that were mended may have changed.
    guard Capability.mayAdministerNetwork, try !state.chains.isEmpty || workspace.firewall().isInstalled
    else {
      return
    }
    let lost = try workspace.compareRules()
    guard !lost.isEmpty else { return }
    try workspace.restoreRules(lost)
    try workspace.save(mayUseSpare: true)
    done += lost.map { .mended($0) }
    try Teardown(workspace).deleteFlows(state.mappings.filter { !$0.rules.isEmpty }.map(\.flows))
  }

  /// Rules that another variant of iptables made are removed with that; what is missing then is made with this one.
  private mutating func moveRules(from recorded: String, to variant: String) throws {
    var removal = Removal()
    removal.change = RuleChange(chains: state.chains, rules: state.rules)
    removal.firewallVariant = recorded
    try takeAway(removal)
    workspace.state.firewallVariant = variant
    try workspace.save(mayUseSpare: true)
    done.append(.movedRules(from: recorded, to: variant))
  }

  /// A port that somebody else has taken is theirs on loopback, too: its entries go until it is held again.
  private mutating func restoreConnections(_ differences: [Difference]) throws {
    let taken = state.mappings.filter { lost[$0.id] != nil }.compactMap(\.mapping.connectRoute)
    let found = differences.filter(\.isOfConnections)
    guard !found.isEmpty || !taken.isEmpty else { return }
    // Asked anew: what leads where may have changed with what was mended.
    guard let comparison = workspace.compareConnections(besides: taken), !comparison.isEmpty else { return }
    try workspace.restoreConnections(comparison, besides: taken)
    done += found.filter { difference in
      if case .connectionsLost(let mapping) = difference { lost[mapping.id] == nil } else { true }
    }.map { .mended($0) }
  }

  private mutating func enableForwarding(_ differences: [Difference]) throws {
    for case .forwardingOff(let family) in differences {
      done += try Forwarding.enable(family).map { .turnedOn($0) }
    }
  }
}

/// Something that repair has done.
enum Mended {
  case salvaged(path: String, problem: String, copy: String)
  case rebuilt(count: Int)
  case removed(Mapping)
  case ended(id: String)
  case deletedLink(String)
  case letGo(HolderRecord)
  case held(Holding)
  case entered(Holding, NamespaceName)
  case restoredSocket(Holding)
  case madeBridge(String)
  case gaveAddress(bridge: String)
  case setUp(bridge: String)
  case pluggedIn(link: String, bridge: String)
  case pluggedInNamespace(String, bridge: String)
  case movedRules(from: String, to: String)
  case mended(Difference)
  case turnedOn(String)

  /// Whether a rule was put back.
  var isOfRules: Bool {
    if case .mended(.rules) = self { true } else { false }
  }
}
