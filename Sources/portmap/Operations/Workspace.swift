import CLinux
import Glibc

/// What every changing operation works on: the state folder under its lock, the state as it was found, and the tools
/// that change the system.
final class Workspace {
  let folder: StateFolder
  private(set) var file: StateFile
  let runner: ProgramRunner
  let layout: ChainLayout
  var state: State
  /// The state as the file has it.
  private var written: State
  let notify: (Notice) -> Void
  /// What the operation is going to do: change things, compare them under the lock, or only say what it would do.
  private enum Purpose { case change, look, preview }

  private let purpose: Purpose
  /// Whether nothing may be changed.
  var isPreview: Bool { purpose == .preview }
  private var lock: Lock?
  private var heldNamespaceLock: Lock?
  private var knownVariant: String?
  let setting: Setting
  /// The host's program on connect(2), once it was asked for.
  var connectHostInUse: ConnectHost?

  /// How what an earlier command could not take away is dealt with.
  enum Waiting {
    /// It is tried again.
    case retried
    /// It is left to a command that has to do with rules: this one has not, and shall not depend on their programs.
    case left
  }

  /// Takes the folder's lock, reads the state, and takes away what a command that died half-way has left.
  static func open(_ setting: Setting, waiting: Waiting = .retried) throws -> Workspace {
    if setting.isDryRun { return try preview(setting) }
    let (folder, lock) = try takeLock(setting)
    let workspace = try Workspace(.change, StateFile(folder: folder), lock, setting)
    workspace.file.removeHalfWritten()
    try workspace.catchUp(waiting)
    AbandonedFolders.delete(from: setting.statePath.shelf)
    workspace.forgetDeadConnections()
    return workspace
  }

  /// Takes the lock and reads the state, and leaves what a dead command has left as it is, to be told. Nothing is made:
  /// where there is no folder, or no lock in it, there is nobody to wait for.
  static func inspect(_ setting: Setting) throws -> Workspace {
    let folder = try StateFolder.look(at: setting.statePath)
    let lock = try Lock.take(lookingAt: folder) { setting.notify(.waiting($0)) }
    return try Workspace(.look, StateFile(folder: folder), lock, setting)
  }

  /// Takes the lock of a folder whose state cannot be read, and begins with an empty one.
  static func openEmpty(_ setting: Setting) throws -> Workspace {
    let (folder, lock) = try takeLock(setting)
    let file = StateFile(folder: folder)
    return Workspace(.change, file, file.fresh, lock, setting)
  }

  private static func takeLock(_ setting: Setting) throws -> (StateFolder, Lock) {
    try Lock.take(making: setting.statePath) { setting.notify(.waiting($0)) }
  }

  /// Reads the state as it is, without a lock: for commands that only say what they would do.
  private static func preview(_ setting: Setting) throws -> Workspace {
    let folder = try StateFolder.look(at: setting.statePath)
    return try Workspace(.preview, StateFile(folder: folder), nil, setting)
  }

  private convenience init(_ purpose: Purpose, _ file: StateFile, _ lock: Lock?, _ setting: Setting) throws {
    var file = file
    let state = try file.read()
    self.init(purpose, file, state, lock, setting)
  }

  private init(_ purpose: Purpose, _ file: StateFile, _ state: State, _ lock: Lock?, _ setting: Setting) {
    self.purpose = purpose
    folder = file.folder
    self.file = file
    self.lock = lock
    self.state = state
    written = state
    runner = setting.runner
    layout = ChainLayout(tag: state.tag ?? "")
    self.setting = setting
    notify = setting.notify
  }

  /// The alias of links that are this folder's.
  func alias(for guest: LinkAlias.Guest? = nil) -> LinkAlias { LinkAlias(tag: layout.tag, guest: guest) }

  /// Takes the namespace's own lock, under which rules and links are changed whichever the state folder, when it is
  /// first needed, and keeps it to the end of the command.
  func namespaceLock() throws -> Lock? {
    guard lock != nil || purpose == .look else { return nil }
    if let heldNamespaceLock { return heldNamespaceLock }
    let root = try StateFolder.look(at: .root)
    if Lock.isShared(root, folder) {
      heldNamespaceLock = lock
      return lock
    }
    let say = { [notify] in notify(.waiting($0)) }
    heldNamespaceLock =
      purpose == .look
      ? try Lock.take(lookingAt: root, say: say) : try Lock.take(making: .root, say: say).1
    return heldNamespaceLock
  }

  /// The variant that `iptables` is, which is asked once a command.
  func firewallVariant() throws -> String {
    if let knownVariant { return knownVariant }
    let variant = try firewall().variant()
    knownVariant = variant
    return variant
  }

  func network() throws -> IPRoute { IPRoute(runner: runner, lock: try namespaceLock()?.descriptor) }

  /// Lets other commands go on; nothing can be changed through this workspace afterwards.
  func close() {
    lock = nil
    heldNamespaceLock = nil
  }

  /// Replaces the state file by `state`.
  ///
  /// - Parameter mayUseSpare: Whether the room that was put by for a full disk may be taken: by what gives back or
  ///   undoes, not by what takes more.
  func save(mayUseSpare: Bool) throws {
    try file.write(state, mayUseSpare: mayUseSpare)
    written = state
  }

  /// Replaces the state file where the state is another one by now.
  func saveIfChanged() throws {
    if state != written { try save(mayUseSpare: true) }
  }
}

// MARK: what earlier commands have left

extension Workspace {
  /// Takes away what a removal names; what fails of it is told and waits in the state. The state is not saved.
  func settle(_ removal: Removal, notice: (any Error) -> Notice) {
    let result = Teardown(self).carryOut(removal.sparing(state))
    for failure in result.failures { notify(notice(failure)) }
    if !result.left.isEmpty { state.waiting.append(result.left) }
  }

  /// Carries out the intent of a command that died, what waits to be taken away, and the release of what was to live as
  /// long as a command that is gone. What fails stays for a later command: nothing of it may stand in this one's way.
  private func catchUp(_ waiting: Waiting) throws {
    let before = state
    if let intent = state.intent {
      state.intent = nil
      settle(intent) { .removalWaits($0) }
    }
    if waiting == .retried {
      let removals = state.waiting
      state.waiting = []
      for removal in removals { settle(removal) { .removalWaits($0) } }
    }
    if state != before { try save(mayUseSpare: true) }
    releaseAbandoned(waiting)
  }

  private func releaseAbandoned(_ waiting: Waiting) {
    func isAbandoned(_ scope: ProcessIdentity?) -> Bool { scope.map { !$0.isAlive } ?? false }
    var selection = Selection()
    let mappings = state.mappings.filter { waiting == .retried || $0.status == .active }
    selection.mappings = Set(mappings.filter { isAbandoned($0.mapping.scope) }.map(\.id))
    selection.reservations = Set(state.reservations.filter { isAbandoned($0.scope) }.map(\.id))
    guard !selection.isEmpty else { return }
    do {
      try Transaction(.releasing(selection, from: state), self).carryOut()
    } catch {
      notify(.notReleased(error))
    }
  }
}

extension State {
  /// Goes back to an earlier state, but keeps what is known of the rules and what waits.
  mutating func restore(_ earlier: State) {
    let (generation, waiting) = (rulesGeneration, waiting)
    self = earlier
    rulesGeneration = generation
    self.waiting = waiting
  }

  /// The same with those mappings broken that are gone from the next state.
  func breaking(_ next: State) -> State {
    let left = Set(next.mappings.map(\.id))
    var state = self
    for index in state.mappings.indices where !left.contains(state.mappings[index].id) {
      state.mappings[index].status = .broken
    }
    return state
  }
}
