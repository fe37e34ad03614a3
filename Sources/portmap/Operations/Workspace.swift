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
  let notify: (Notice) -> Void
  /// Whether nothing may be changed.
  let isPreview: Bool
  private var lock: Lock?
  private var heldNamespaceLock: Lock?

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
    let workspace = try inspect(setting)
    workspace.file.removeHalfWritten()
    try workspace.catchUp(waiting)
    return workspace
  }

  /// Takes the lock and reads the state, and leaves what a dead command has left as it is, to be told.
  static func inspect(_ setting: Setting) throws -> Workspace {
    let folder = try StateFolder.make(setting.statePath)
    let lock = try Lock.take(folder) { setting.notify(.waiting($0)) }
    var file = StateFile(folder: folder)
    let state = try file.read()
    return Workspace(folder: folder, file: file, lock: lock, state: state, setting)
  }

  /// Takes the lock of a folder whose state cannot be read, and begins with an empty one.
  static func openEmpty(_ setting: Setting) throws -> Workspace {
    let folder = try StateFolder.make(setting.statePath)
    let lock = try Lock.take(folder) { setting.notify(.waiting($0)) }
    let file = StateFile(folder: folder)
    return Workspace(folder: folder, file: file, lock: lock, state: StateFile.fresh, setting)
  }

  /// Reads the state as it is, without a lock: for commands that only say what they would do.
  private static func preview(_ setting: Setting) throws -> Workspace {
    let folder = try StateFolder.open(setting.statePath)
    let nowhere = StateFolder(path: setting.statePath, descriptor: Descriptor(owning: -1))
    var file = StateFile(folder: folder ?? nowhere)
    let state = folder == nil ? StateFile.fresh : try file.read()
    return Workspace(folder: file.folder, file: file, lock: nil, state: state, setting)
  }

  private init(folder: StateFolder, file: StateFile, lock: Lock?, state: State, _ setting: Setting) {
    self.folder = folder
    self.file = file
    self.lock = lock
    isPreview = lock == nil
    self.state = state
    runner = setting.runner
    layout = ChainLayout(tag: folder.tag)
    notify = setting.notify
  }

  /// The alias of links that are this folder's.
  func alias(for guest: LinkAlias.Guest? = nil) -> LinkAlias { LinkAlias(tag: layout.tag, guest: guest) }

  /// Takes the namespace's own lock, under which rules and links are changed whichever the state folder, when it is
  /// first needed, and keeps it to the end of the command.
  func namespaceLock() throws -> Lock? {
    guard let lock else { return nil }
    if let heldNamespaceLock { return heldNamespaceLock }
    let root = try StateFolder.make(StateFolder.rootPath)
    let taken = Lock.isShared(root, folder) ? lock : try Lock.take(root) { notify(.waiting($0)) }
    heldNamespaceLock = taken
    return taken
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
