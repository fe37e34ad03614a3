import CLinux
import Glibc

/// What one call of map or alloc is going to put there, and the putting.
///
/// Everything is written down as an intent before the first of it is done. When a step fails, the intent is carried
/// out as a removal and the state is as it was; when the command is killed, the next one does that.
final class Draft {
  private let workspace: Workspace
  private let before: State
  /// The state as it will be.
  var next: State
  /// Sockets that the call's background process will hold.
  var leases: [(lease: Holding, sockets: [Descriptor])] = []
  /// What other processes hold and let go of once this one has it.
  var taken: [HoldingReference] = []
  var flows: [FlowFilter] = []
  var forwarding: Set<IPAddress.Family> = []
  /// The command that all of it lives as long as.
  var scope: ProcessIdentity?
  /// Links that come into being, and the commands that make them, by namespace.
  var links: [String] = []
  var linkCommands: [(namespace: String?, commands: [String])] = []

  init(_ workspace: Workspace) {
    self.workspace = workspace
    before = workspace.state
    next = workspace.state
    next.serial += 1
    holderID = Identifier.make(unless: workspace.state.knows)
    ids = [holderID]
  }

  private var ids: Set<String>

  /// The id of the background process, should there be one.
  let holderID: String

  /// An id that neither the state nor the draft knows.
  func newID() -> String {
    let id = Identifier.make { workspace.state.knows($0) || ids.contains($0) }
    ids.insert(id)
    return id
  }

  /// The number of this call, which everything that it makes carries.
  var serial: Int { next.serial }

  /// Which of the rules will have to be made, with the chains for them.
  var change: RuleChange {
    RuleChange.adding(next.batch(serial).rules, to: before.chains, workspace.layout, serial: serial)
  }

  /// Does it all, then calls `report`, whose failure undoes it all as any other's does.
  ///
  /// - Throws: What failed first. What could not be undone is said as a warning and left to the next command.
  func apply(report: (State) throws -> Void) throws {
    let change = change
    next.chains += change.chains
    var intent = Removal(change: change, links: links, flows: flows)
    if !leases.isEmpty { intent.holders = [holderID] }
    if !change.isEmpty {
      try prepareFirewall()
      intent.firewallBackend = next.firewallBackend
    }
    var client: HolderClient?
    do {
      if !intent.isEmpty {
        workspace.state.intent = intent
        try workspace.save(mayUseSpare: false)
      }
      try make(change)
      client = try launch()
      try client?.begin()
      try commit()
      try report(next)
    } catch {
      client = nil
      undo(intent)
      throw error
    }
    releaseTaken()
  }

  private func prepareFirewall() throws {
    try workspace.checkFirewallBackend(try workspace.firewall())
    next.firewallBackend = workspace.state.firewallBackend
  }

  /// Rules, links, forwarding, and the end of old flows.
  private func make(_ change: RuleChange) throws {
    try Interruption.check()
    if !change.isEmpty { try workspace.firewall().install(change) }
    for (namespace, commands) in linkCommands {
      try Interruption.check()
      try workspace.network().batch(commands, inNamespace: namespace)
    }
    for family in forwarding.sorted(by: { $0.rawValue < $1.rawValue }) {
      for switched in try Forwarding.enable(family) { workspace.warn("turned on \(switched)") }
    }
    try Interruption.check()
    try Teardown(workspace: workspace).forget(flows)
  }

  /// Starts the background process and hands it the sockets.
  private func launch() throws -> HolderClient? {
    guard !leases.isEmpty else { return nil }
    try Interruption.check()
    let (process, client) = try HolderLauncher.launch(id: holderID, in: workspace.folder.descriptor)
    next.holders.append(HolderRecord(id: holderID, process: process))
    try client.hold(leases)
    return client
  }

  private func commit() throws {
    try Interruption.check()
    if !taken.isEmpty {
      let intent = takenIntent
      next.holders.removeAll { intent.holders.contains($0.id) }
      next.intent = intent
    }
    workspace.state = next
    try workspace.save(mayUseSpare: false)
  }

  /// The state and everything else as it was.
  private func undo(_ intent: Removal) {
    workspace.state = before
    let failures = Teardown(workspace: workspace).carryOut(intent)
    for failure in failures {
      workspace.warn("warning: \(Failure(failure, doing: "undo everything").message)")
    }
    workspace.state = before
    workspace.state.intent = failures.isEmpty ? nil : intent
    do {
      try workspace.save(mayUseSpare: true)
    } catch {
      workspace.warn("warning: \(Failure(error, doing: "record that").message)")
    }
  }

  /// Those who held what was taken over let go, and end with the last they have.
  private var takenIntent: Removal {
    let holders = Set(taken.map(\.holder)).filter { !next.isInUse(holder: $0) }
    return Removal(holders: holders.sorted(), leases: taken.filter { !holders.contains($0.holder) })
  }

  private func releaseTaken() {
    do {
      try workspace.finishIntent()
    } catch {
      workspace.warn("warning: \(Failure(error, doing: "let go of what was taken over").message)")
    }
  }
}

extension State {
  /// Whether anything is still held by a background process.
  func isInUse(holder id: String) -> Bool {
    mappings.contains { $0.holder == id } || reservations.contains { $0.holder == id }
  }
}
