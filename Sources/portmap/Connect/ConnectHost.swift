import Glibc

/// Why connections cannot be led as they connect.
enum ConnectError: Error {
  /// A person does not want it.
  case leftOut
  case notPermitted
  /// The kernel is older than what the program needs.
  case oldKernel
  /// Control groups of version 2 are not to be had.
  case noCgroups(SystemError)
  /// This process is in a cgroup namespace, and does not see the host's root.
  case cgroupNamespace
  /// The root cgroup has a program that lets no other be attached beside it.
  case exclusive
  /// Another version of portmap has its program there, with a map that this one cannot use.
  case otherLayout
  /// The verifier refused the program, with these words.
  case refused(SystemError, String)
  /// Another process has had the lock all the time.
  case busy
  case system(SystemError)
}

/// What there is for each of the two hooks, if anything.
private struct ForEachHook<Value> {
  private var v4: Value?
  private var v6: Value?

  init() {}

  subscript(hook: ConnectHook) -> Value? {
    get { hook == .v4 ? v4 : v6 }
    set {
      switch hook {
      case .v4: v4 = newValue
      case .v6: v6 = newValue
      }
    }
  }
}

/// The one program on connect(2) that all portmaps of a host share, with its map.
///
/// Theory of operation. The program, in its two forms for the two families, is attached to the root cgroup beside
/// whatever else is there, and nothing but that keeps it and its map: no file, no process. Whoever wants it asks the
/// kernel for the root's programs, and knows it by its name and the map by the program. The first one who needs it
/// attaches it, and whoever takes the last entry away detaches it; in between they hold the lock of the host, which is
/// the root's own (flock(2)). Who dies in between leaves a program without entries, harmless, which the next one uses
/// or detaches.
final class ConnectHost {
  typealias Table = BPFMap<ConnectKey, ConnectValue>

  /// The map's name stands for the layout of its entries.
  private static let mapName = "portmap_v1"
  /// The map of the sockets that were led.
  private static let socketsName = "portmap_socks"
  /// How many entries there can be. Each takes 16 bytes of the kernel's memory, whether it is used or not, and some time
  /// when the map is made; what finds no room is the proxy's.
  private static let room = 32768
  /// How long the lock is waited for. Whoever may read the root can have it, and others must not wait for good.
  private static let patience = 2000

  private let root: Descriptor
  /// Programs that are loaded and not attached.
  private var loaded: Loaded?

  private struct Loaded {
    let map: Table
    let sockets: BPFSocketMap
    let programs: ForEachHook<Descriptor>
  }

  /// The program as it is attached.
  struct Installed {
    let map: Table
    /// The sockets that were led; nil where an earlier revision does not note them.
    let sockets: BPFSocketMap?
    /// Whether it was attached just now.
    fileprivate(set) var isNew = false
    fileprivate var mapIdentifier: UInt32
    fileprivate var programs: ForEachHook<BPFProgram>

    /// Whether both forms are there, with one map.
    var isWhole: Bool {
      ConnectHook.allCases.allSatisfy { programs[$0]?.maps.contains(mapIdentifier) ?? false }
    }
  }

  init() throws(ConnectError) {
    do {
      root = try RootCgroup.open()
    } catch {
      switch error {
      case .ofNamespace: throw .cgroupNamespace
      case .unreachable(let error) where error.errno == EPERM: throw .notPermitted
      case .unreachable(let error): throw .noCgroups(error)
      }
    }
  }

  /// Runs the body while nobody else attaches or detaches the program.
  ///
  /// - Parameter body: Is told whether the lock could be had.
  func locked<Result>(_ body: (Bool) throws -> Result) throws -> Result {
    let deadline = Deadline.after(milliseconds: Self.patience)
    var isLocked = flock(root.raw, LOCK_EX | LOCK_NB) == 0
    while !isLocked, !deadline.hasPassed {
      try Interruption.checkWhileWaiting()
      usleep(500)
      isLocked = flock(root.raw, LOCK_EX | LOCK_NB) == 0
    }
    defer { if isLocked { flock(root.raw, LOCK_UN) } }
    return try body(isLocked)
  }

  // MARK: looking

  /// Finds the program; nil where it is not attached.
  func find() throws(ConnectError) -> Installed? {
    var programs = ForEachHook<BPFProgram>()
    for hook in ConnectHook.allCases { programs[hook] = try own(hook, try attached(hook)) }
    // Both have the same maps, unless somebody has detached one of them for a while.
    guard let maps = ConnectHook.allCases.compactMap({ programs[$0]?.maps }).first else { return nil }
    do {
      for identifier in maps {
        guard let map = try Table(identifier, named: Self.mapName) else { continue }
        let sockets = try sockets(of: maps)
        return Installed(map: map, sockets: sockets, mapIdentifier: identifier, programs: programs)
      }
      throw ConnectError.otherLayout
    } catch let error as SystemError {
      // It has just been detached, and its map went with it.
      if error.errno == ENOENT { return nil }
      throw .init(error)
    } catch {
      throw .otherLayout
    }
  }

  private func attached(_ hook: ConnectHook) throws(ConnectError) -> BPFProgram.Attached {
    do {
      return try BPFProgram.attached(to: root, hook)
    } catch {
      throw .init(error)
    }
  }

  private func own(_ hook: ConnectHook, _ attached: BPFProgram.Attached) throws(ConnectError) -> BPFProgram? {
    attached.programs.first { ConnectProgram(hook: hook).revision(of: $0.name) != nil }
  }

  /// Makes sure that the program is there or could be attached; nothing of that lasts.
  func prepare() throws(ConnectError) {
    guard try find() == nil else { return }
    for hook in ConnectHook.allCases {
      guard try attached(hook).isOpen else { throw .exclusive }
    }
    _ = try load()
  }

  // MARK: attaching and detaching, under the lock

  /// Attaches what is missing of the program, and puts it in the place of an earlier revision.
  func install() throws(ConnectError) -> Installed {
    if var found = try find() {
      var sockets = found.sockets
      let outdated = ConnectHook.allCases.filter { !isCurrent(found, $0) }
      for hook in outdated {
        let marked = if let sockets { sockets } else { try makeSockets() }
        sockets = marked
        let program = try load(hook, found.map, marked)
        try attach(program, hook, replacing: found.programs[hook]?.descriptor)
      }
      if !outdated.isEmpty { found.programs = try find()?.programs ?? ForEachHook() }
      return found
    }
    let loaded = try load()
    do throws(ConnectError) {
      for hook in ConnectHook.allCases {
        guard let program = loaded.programs[hook] else { continue }
        try attach(program, hook)
      }
      guard var installed = try find() else { throw ConnectError.otherLayout }
      installed.isNew = true
      return installed
    } catch {
      if let half = try? find() { try? detach(half) }
      throw error
    }
  }

  private func isCurrent(_ installed: Installed, _ hook: ConnectHook) -> Bool {
    guard let program = installed.programs[hook], program.maps.contains(installed.mapIdentifier) else {
      return false
    }
    return ConnectProgram(hook: hook).revision(of: program.name) ?? 0 >= ConnectProgram.revision
  }

  func detach(_ installed: Installed) throws(ConnectError) {
    do {
      for hook in ConnectHook.allCases { try installed.programs[hook]?.detach(from: root, hook) }
    } catch {
      throw .init(error)
    }
  }

  private func attach(
    _ program: Descriptor,
    _ hook: ConnectHook,
    replacing other: Descriptor? = nil
  ) throws(ConnectError) {
    do {
      try BPFProgram.attach(program, to: root, hook, replacing: other)
    } catch {
      throw error.errno == EPERM ? .exclusive : .init(error)
    }
  }

  private func load() throws(ConnectError) -> Loaded {
    if let loaded { return loaded }
    do {
      let map = try Table(Self.mapName, room: Self.room)
      var programs = ForEachHook<Descriptor>()
      let sockets = try makeSockets()
      for hook in ConnectHook.allCases { programs[hook] = try load(hook, map, sockets) }
      let loaded = Loaded(map: map, sockets: sockets, programs: programs)
      self.loaded = loaded
      return loaded
    } catch let error as SystemError {
      throw .init(error)
    } catch let error as ConnectError {
      throw error
    } catch {
      throw .oldKernel
    }
  }

  private func sockets(of maps: [UInt32]) throws(SystemError) -> BPFSocketMap? {
    for identifier in maps {
      if let map = try BPFSocketMap(identifier, named: Self.socketsName) { return map }
    }
    return nil
  }

  private func makeSockets() throws(ConnectError) -> BPFSocketMap {
    do {
      return try BPFSocketMap(Self.socketsName)
    } catch {
      throw .init(error)
    }
  }

  private func load(_ hook: ConnectHook, _ map: Table, _ sockets: BPFSocketMap) throws(ConnectError)
    -> Descriptor
  {
    let program = ConnectProgram(hook: hook)
    let maps: [Instruction.Map: Int32] = [.entries: map.descriptor.raw, .sockets: sockets.descriptor.raw]
    let code = Instruction.assemble(program.instructions, maps: maps)
    do {
      return try BPFProgram.load(program.name, for: hook, code)
    } catch let error as RefusedProgram {
      throw .refused(error.error, error.words)
    } catch let error as SystemError {
      throw .init(error)
    } catch {
      throw .oldKernel
    }
  }
}

extension ConnectError {
  init(_ error: SystemError) {
    switch error.errno {
    case EPERM, EACCES: self = .notPermitted
    case ENOSYS, EINVAL: self = .oldKernel
    default: self = .system(error)
    }
  }
}
