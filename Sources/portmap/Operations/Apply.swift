/// Makes what files declare so, and keeps what is recorded.
///
/// Theory of operation. What is recorded is mended first. A reconciliation then says what is missing. The ports of each
/// declaration are held one after the other, and whichever cannot be had leaves its line out; all others become one
/// plan, together with the release of what is declared no more, and one transaction carries it out. Where that fails
/// for a reason of one of the lines, its halves are tried instead, down to the line. What stands in the way on another
/// host address is closed before, and made again when its line fails.
struct Apply {
  /// What has come of it.
  struct Outcome {
    let before: State
    let after: State
    /// The declarations that could not be made, each with the reason.
    let failures: [(declaration: Declaration, error: any Error)]
    /// Those that could not be made before, and were not tried now.
    let untried: [DeclarationFailure]
    /// How many mappings, reservations and addresses were there already.
    let unchanged: Int
  }

  /// How much of what is declared and not there is made.
  enum Scope {
    /// All of it, and what is declared no more is released.
    case everything
    /// Those lines that could not be made before: what somebody has unmapped since stays away.
    case failed
    /// Nothing: what is recorded is kept, and that is all.
    case recorded
  }

  let workspace: Workspace
  private let scope: Scope
  /// The background processes that are left dead for the time being.
  private let spared: Set<String>
  let declarations: [Declaration]
  let origins: Set<String>
  var failed: [Int: any Error] = [:]
  var ids: NewIdentifiers
  /// The state with all that earlier declarations are about to add.
  var draft: State
  var interfaces = Interfaces([])
  var firewall: Result<FirewallFacts, any Error>?
  /// The network namespaces that were opened; it holds no sockets.
  var namespaces = HeldSockets()

  /// - Parameters:
  ///   - origins: The names of the files, those that declare nothing too.
  ///   - spared: The ids of background processes that are left dead for the time being.
  init(
    _ declarations: [Declaration],
    from origins: [String],
    _ workspace: Workspace,
    scope: Scope = .everything,
    sparing spared: Set<String> = []
  ) {
    self.scope = scope
    self.spared = spared
    self.declarations = declarations
    self.origins = Set(origins)
    self.workspace = workspace
    draft = workspace.state
    ids = NewIdentifiers(besides: workspace.state)
  }

  /// What of one declaration is held and planned, and not made yet.
  struct Prepared {
    let index: Int
    var wanted = Wanted(holder: "")
    var sockets = HeldSockets()
    /// The namespace that its mappings lead into.
    var guest: GuestNamespace?
    var replaced: Selection
  }

  /// Makes and releases; in a preview it only finds out what that would be.
  ///
  /// - Parameter describe: Puts the failure of a declaration into what the state records of it.
  mutating func run(_ describe: (Declaration, any Error) -> DeclarationFailure) throws -> Outcome {
    let lost = workspace.isPreview ? [:] : mend()
    let before = workspace.state
    var comparison = reconcile()
    let untried = leaveOut(&comparison)
    for (address, user) in comparison.kept { workspace.notify(.addressKept(address, for: user.mapping)) }
    for (index, declaration) in declarations.enumerated() {
      guard let id = lost.keys.first(where: { comparison.unchanged[$0] == declaration.origin }) else {
        continue
      }
      failed[index] = lost[id]
    }
    if scope == .everything { relabel(comparison) }
    let closed = try close(comparison)
    interfaces = try Interfaces.current()
    let prepared = try prepare(comparison, goingBesides: closed)
    var after = workspace.state
    if workspace.isPreview {
      after = try plan(prepared, releasing: comparison.released).next
    } else {
      try carryOut(prepared, releasing: comparison.released.subtracting(closed))
      try makeAgain(closed, before, comparison)
      after = workspace.state
    }
    let problems = failed.sorted { $0.key < $1.key }.map { (declarations[$0.key], $0.value) }
    if !workspace.isPreview { try record(problems.map(describe) + untried) }
    let unchanged = Set(comparison.unchanged.keys).subtracting(lost.keys).count + comparison.addresses.count
    return Outcome(before: before, after: after, failures: problems, untried: untried, unchanged: unchanged)
  }

  /// Mends what is recorded and broken.
  ///
  /// - Returns: The ids of what cannot be held again, each with the reason.
  private func mend() -> [String: any Error] {
    var repair = Repair(workspace, sparing: spared)
    repair.whatIsRecorded()
    let rules = repair.done.count(where: \.isOfRules)
    if rules > 0 { workspace.notify(.rulesPutBack(rules)) }
    for mended in repair.done where !mended.isOfRules { workspace.notify(.mended(mended)) }
    let declared = Set(
      workspace.state.mappings.filter { isDeclared($0.mapping.origin) }.map(\.id)
        + workspace.state.reservations.filter { isDeclared($0.origin) }.map(\.id)
    )
    let lost = repair.lost.filter { declared.contains($0.key) }
    let others = repair.lost.filter { lost[$0.key] == nil }.sorted { $0.key < $1.key }.map(\.value)
    for failure in others + repair.otherFailures { workspace.notify(.notMended(failure)) }
    return lost
  }

  func isDeclared(_ origin: Origin?) -> Bool { origin.map { origins.contains($0.name) } ?? false }

  private func reconcile() -> Reconciliation {
    var known: [String: Result<IPAddress, any Error>] = [:]
    return Reconciliation(of: declarations, from: origins, in: workspace.state) { [workspace] name in
      if let result = known[name] { return result }
      let result = Result { try workspace.network().address(ofNamespace: name) }
      known[name] = result
      return result
    }
  }

  /// Leaves out of a comparison what is not to be made now.
  ///
  /// - Returns: Those lines among it that could not be made before.
  private func leaveOut(_ comparison: inout Reconciliation) -> [DeclarationFailure] {
    guard scope != .everything else { return [] }
    let failures = workspace.state.failures.filter { isDeclared($0.origin) }
    let failed = Dictionary(failures.map { ($0.origin, $0) }) { first, _ in first }
    let open = comparison.tasks.map { declarations[$0.index].origin }
    comparison.keepTasks { scope == .failed && failed[declarations[$0.index].origin] != nil }
    return scope == .failed ? [] : open.compactMap { failed[$0] }
  }

  /// Notes where what is there is declared now.
  private mutating func relabel(_ comparison: Reconciliation) {
    var state = workspace.state
    for index in state.mappings.indices {
      guard state.mappings[index].mapping.origin != nil,
        let origin = comparison.unchanged[state.mappings[index].id]
      else { continue }
      state.mappings[index].mapping.origin = origin
    }
    for index in state.reservations.indices {
      guard let origin = comparison.unchanged[state.reservations[index].id] else { continue }
      state.reservations[index].reservation.origin = origin
    }
    for index in state.addresses.indices {
      guard let origin = comparison.addresses[state.addresses[index].ip] else { continue }
      state.addresses[index].origin = origin
    }
    workspace.state = state
    draft = state
  }

  /// Closes what stands in the way of something new.
  private mutating func close(_ comparison: Reconciliation) throws -> Selection {
    var selection = Selection()
    for task in comparison.tasks { selection.formUnion(task.inTheWay) }
    guard !selection.isEmpty else { return selection }
    let plan = Plan.releasing(selection, from: workspace.state)
    if !workspace.isPreview { try Transaction(plan, workspace).carryOut() }
    draft = workspace.isPreview ? plan.next : workspace.state
    return workspace.isPreview ? Selection() : selection
  }
}

extension Selection {
  func subtracting(_ other: Selection) -> Selection {
    Selection(
      mappings: mappings.subtracting(other.mappings),
      reservations: reservations.subtracting(other.reservations),
      addresses: addresses.subtracting(other.addresses)
    )
  }
}
