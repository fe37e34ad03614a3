import CLinux
import Foundation

/// The state file: read whole, replaced whole.
struct StateFile {
  static let name = "state.json"
  static let newName = "state.json.new"
  static let spareName = "spare"

  let folder: StateFolder
  private var coder = StateCoder()
  /// Whether a file was found or written.
  private(set) var isThere = false

  init(folder: StateFolder) {
    self.folder = folder
  }

  /// Reads the state; a fresh one where there is no file, or one that speaks of an earlier boot or of a namespace that
  /// is gone.
  ///
  /// - Throws: StateError for a file that cannot be read or understood, that a newer version wrote, or that another
  ///   namespace uses. It is left as it is.
  mutating func read() throws -> State {
    let fresh = fresh
    guard var state = try recorded(), state.bootID == fresh.bootID else { return fresh }
    guard state.netnsCookie == fresh.netnsCookie else {
      if let user = OtherNamespace(state, in: folder).user { throw OtherNamespace.error(folder, user) }
      return fresh
    }
    if state.tag == nil { state.tag = folder.formerTag }
    state.netnsInode = fresh.netnsInode
    return state
  }

  /// What the file says, whichever boot and namespace it speaks of; nil where there is no file.
  mutating func recorded() throws -> State? {
    guard let file = try folder.open(file: Self.name, flags: O_RDONLY) else { return nil }
    isThere = true
    // Blocks as large as the state come and go: to get fresh pages from the kernel for each takes longer than to fill
    // them.
    _ = mallopt(M_MMAP_THRESHOLD, 64 << 20)
    _ = mallopt(M_TRIM_THRESHOLD, 64 << 20)
    let data = try FileHandle(fileDescriptor: file.raw, closeOnDealloc: false).readToEnd() ?? Data()
    return try coder.decode(data, path: "\(folder.path)/\(Self.name)")
  }

  /// The state of a namespace that portmap has not been used in.
  var fresh: State {
    var state = State(netnsCookie: clinux_netns_cookie(), bootID: Self.bootID)
    state.netnsInode = NetworkNamespace(of: getpid()).map { UInt64($0.inode) }
    state.tag = folder.freshTag
    return state
  }

  /// Replaces the file, so that a reader, and whoever comes after a crash, finds the old state or the new one.
  ///
  /// - Parameter mayUseSpare: Whether the room that was put by for a full disk may be taken: by what gives back or
  ///   undoes, not by what takes more.
  mutating func write(_ state: State, mayUseSpare: Bool) throws {
    let bytes = try coder.encode(state)
    do {
      try replace(with: bytes)
    } catch let error as SystemError where error.errno == ENOSPC && mayUseSpare {
      unlinkat(folder.descriptor.raw, Self.spareName, 0)
      try replace(with: bytes)
    }
    isThere = true
    try keepSpare(for: bytes.count, required: !mayUseSpare)
  }

  /// Deletes what a command that was killed while it wrote has left.
  func removeHalfWritten() { unlinkat(folder.descriptor.raw, Self.newName, 0) }

  private func replace(with bytes: Data) throws {
    let path = "\(folder.path)/\(Self.newName)"
    unlinkat(folder.descriptor.raw, Self.newName, 0)
    do {
      guard let file = try folder.open(file: Self.newName, flags: O_WRONLY | O_CREAT | O_EXCL) else {
        throw StateError(path: path, problem: "the folder was deleted meanwhile")
      }
      try bytes.withUnsafeBytes { try Files.write($0, to: file, about: path) }
      try syscall("fsync", about: path) { fsync(file.raw) }
      let raw = folder.descriptor.raw
      try syscall("rename", about: path) { renameat(raw, Self.newName, raw, Self.name) }
      try syscall("fsync", about: folder.path) { fsync(raw) }
    } catch {
      unlinkat(folder.descriptor.raw, Self.newName, 0)
      throw error
    }
  }

  /// Keeps a file of at least the state's size with real blocks, whose room an unmap can use on a full disk.
  private func keepSpare(for size: Int, required: Bool) throws {
    let wanted = (size * 2 | 4095) + 1
    var status = stat()
    if fstatat(folder.descriptor.raw, Self.spareName, &status, AT_SYMLINK_NOFOLLOW) == 0,
      status.st_size >= size + 4096
    {
      return
    }
    guard let spare = try folder.open(file: Self.spareName, flags: O_WRONLY | O_CREAT) else { return }
    let error = posix_fallocate(spare.raw, 0, wanted)
    if error != 0 {
      unlinkat(folder.descriptor.raw, Self.spareName, 0)
      if required {
        throw SystemError(call: "fallocate", errno: error, subject: "\(folder.path)/\(Self.spareName)")
      }
    }
  }

  static var bootID: String { Files.word(of: "/proc/sys/kernel/random/boot_id") ?? "" }
}
