/// Takes away the mappings of attachments. Nothing that is missing, and nothing that cannot be taken away now, makes it
/// fail: what fails waits in the state for a later command.
struct Detaching {
  private let setting: Setting

  init(_ setting: Setting) { self.setting = setting }

  /// Releases what an attachment has, what the original plugin has made for it included.
  ///
  /// - Parameter isLikely: Whether it is likely to have anything: then it is not worth while to look without the lock.
  func release(_ attachment: Attachment, isLikely: Bool) throws {
    // Most of the time that the rules take to go is spent waiting for the kernel.
    let look = OriginalPlugin(Firewall(runner: setting.runner, lock: nil)).look()
    try release(recordsOf: attachment, isLikely: isLikely)
    try remove(look.rules(of: attachment))
  }

  /// Releases what an attachment has as far as the state knows.
  func release(recordsOf attachment: Attachment, isLikely: Bool = false) throws {
    let origin = attachment.origin
    try release(isLikely: isLikely) { $0 == origin }
  }

  /// Releases what attachments to a network have, but for those that are still valid.
  func release(network: String, but valid: [Attachment]) throws {
    let prefix = Attachment.prefix(of: network)
    let valid = Set(valid.map(\.origin))
    try release(isLikely: false) { $0.name.hasPrefix(prefix) && !$0.isLine && !valid.contains($0) }
  }

  /// Releases the mappings whose origins `isGoing` names.
  private func release(isLikely: Bool, _ isGoing: (Origin) -> Bool) throws {
    guard try mayHaveAny(isLikely, isGoing) else { return }
    let workspace = try Workspace.open(setting)
    defer { workspace.close() }
    let going = workspace.state.mappings(of: isGoing)
    guard !going.isEmpty else { return }
    let plan = Plan.releasing(Selection(mappings: Set(going.map(\.id))), from: workspace.state)
    try Transaction(plan, workspace, failures: .waiting).carryOut()
  }

  /// Whether there is anything to release, looked up without the lock: most containers have no ports. What an ADD that
  /// was killed has begun is an intent.
  private func mayHaveAny(_ isLikely: Bool, _ isGoing: (Origin) -> Bool) throws -> Bool {
    guard let folder = try StateFolder.open(setting.statePath) else { return false }
    if isLikely { return true }
    var file = StateFile(folder: folder)
    let state = try file.read()
    return state.intent != nil || !state.mappings(of: isGoing).isEmpty
  }

  /// Takes away what the original plugin has made.
  private func remove(_ found: [OriginalPlugin.Rules]) throws {
    guard !found.isEmpty else { return }
    // Rules are changed under the namespace's lock alone.
    let workspace = try Workspace.open(setting)
    defer { workspace.close() }
    let original = OriginalPlugin(try workspace.firewall())
    for rules in found {
      do {
        try workspace.changeRules(commits: 1) { try original.remove(rules) }
      } catch {
        workspace.notify(.removalWaits(error))
      }
    }
    try workspace.saveIfChanged()
  }
}

extension State {
  /// The mappings whose origins `isMeant` names.
  fileprivate func mappings(of isMeant: (Origin) -> Bool) -> [MappingRecord] {
    mappings.filter { $0.mapping.origin.map(isMeant) ?? false }
  }
}
