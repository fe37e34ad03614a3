import CLinux
import Glibc

/// What every changing command works on: the folder under its lock, the state as it was found, and the tools that
/// change the system.
final class Workspace {
  let folder: StateFolder
  private(set) var file: StateFile
  let runner: ProgramRunner
  let layout: ChainLayout
  var state: State
  private let say: (String) -> Void
  /// Whether nothing may be changed.
  let isPreview: Bool
  private var lock: Lock?
  private var heldNamespaceLock: Lock?

  /// Takes the folder's lock, reads the state, and takes away what a command that died half-way has left.
  static func open(_ context: Context) throws -> Workspace {
    if context.dryRun { return try preview(context) }
    let workspace = try inspect(context)
    workspace.file.removeHalfWritten()
    try workspace.finishIntent()
    try workspace.releaseAbandoned()
    return workspace
  }

  /// The same for `check`: what a dead command has left stays as it is, to be told.
  static func inspect(_ context: Context) throws -> Workspace {
    let folder = try StateFolder.make(context.statePath)
    let lock = try Lock.take(folder, say: context.say)
    var file = StateFile(folder: folder)
    let state = try file.read()
    return Workspace(folder: folder, file: file, lock: lock, state: state, context)
  }

  /// The same for a folder whose state cannot be read: with an empty one.
  static func openEmpty(_ context: Context) throws -> Workspace {
    let folder = try StateFolder.make(context.statePath)
    let lock = try Lock.take(folder, say: context.say)
    return Workspace(
      folder: folder,
      file: StateFile(folder: folder),
      lock: lock,
      state: StateFile.fresh,
      context
    )
  }

  /// By what links are known as this folder's.
  func alias(for guest: LinkAlias.Guest? = nil) -> LinkAlias { LinkAlias(tag: layout.tag, guest: guest) }

  /// The state as it is, without a lock: for commands that only say what they would do.
  private static func preview(_ context: Context) throws -> Workspace {
    let folder = try StateFolder.open(context.statePath)
    let nowhere = StateFolder(path: context.statePath, descriptor: Descriptor(owning: -1))
    var file = StateFile(folder: folder ?? nowhere)
    let state = folder == nil ? StateFile.fresh : try file.read()
    return Workspace(folder: file.folder, file: file, lock: nil, state: state, context)
  }

  private init(folder: StateFolder, file: StateFile, lock: Lock?, state: State, _ context: Context) {
    self.folder = folder
    self.file = file
    self.lock = lock
    isPreview = lock == nil
    self.state = state
    runner = context.runner
    layout = ChainLayout(tag: folder.tag)
    say = context.say
  }

  /// The namespace's own lock, under which rules and links are changed whichever the state folder: taken when it is
  /// first needed, and kept to the end of the command.
  func namespaceLock() throws -> Lock? {
    guard let lock else { return nil }
    if let heldNamespaceLock { return heldNamespaceLock }
    let root = try StateFolder.make(StateFolder.rootPath)
    let taken = Lock.isShared(root, folder) ? lock : try Lock.take(root, say: say)
    heldNamespaceLock = taken
    return taken
  }

  func firewall() throws -> Firewall { Firewall(runner: runner, lock: try namespaceLock()?.descriptor) }

  /// The kind of iptables that has made rules, and whether it is another one than `iptables` is.
  func firewall(of recorded: String?) throws -> (Firewall, isOther: Bool) {
    let firewall = try firewall()
    let backend = try firewall.backend()
    guard let recorded, recorded != backend else { return (firewall, false) }
    let other = firewall.of(backend: recorded)
    guard other.isInstalled else { throw FirewallError.backendChanged(from: recorded, to: backend) }
    return (other, true)
  }

  func network() throws -> IPRoute { IPRoute(runner: runner, lock: try namespaceLock()?.descriptor) }

  /// Lets other commands go on; nothing can be changed through this workspace afterwards.
  func close() {
    lock = nil
    heldNamespaceLock = nil
  }

  /// Replaces the state file by `state`.
  func save(mayUseSpare: Bool) throws {
    try file.write(state, mayUseSpare: mayUseSpare)
  }

  /// Carries out the intent that stands in the state, if there is one.
  func finishIntent() throws {
    guard let intent = state.intent else { return }
    let failures = Teardown(workspace: self).carryOut(intent)
    if let failure = failures.first { throw failure }
    state.intent = nil
    try save(mayUseSpare: true)
  }

  /// Releases what was to live as long as a command that is gone, its portmap killed before it could do so.
  private func releaseAbandoned() throws {
    var match = Selection()
    match.mappings = Set(state.mappings.filter { $0.scope.map { !$0.isAlive } ?? false }.map(\.id))
    match.reservations = Set(state.reservations.filter { $0.scope.map { !$0.isAlive } ?? false }.map(\.id))
    if !match.isEmpty { try Release(match, everything: false, workspace: self).carryOut() }
  }

  func warn(_ message: String) { say(message) }

  /// Makes sure that rules can be added to those that are there: by the same kind of iptables that made them.
  func checkFirewallBackend(_ firewall: Firewall) throws {
    let backend = try firewall.backend()
    if let recorded = state.firewallBackend, recorded != backend, !state.chains.isEmpty {
      throw FirewallError.backendChanged(from: recorded, to: backend)
    }
    state.firewallBackend = backend
  }
}
