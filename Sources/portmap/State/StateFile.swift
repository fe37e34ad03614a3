import CLinux
import Foundation

/// The state file: read whole, replaced whole.
struct StateFile {
  static let name = "state.json"
  private static let newName = "state.json.new"
  private static let spareName = "spare"

  let folder: StateFolder
  private var coder = StateCoder()

  init(folder: StateFolder) {
    self.folder = folder
  }

  /// Reads the state; a fresh one where there is no file, or one that speaks of another boot or namespace.
  ///
  /// - Throws: StateError for a file that cannot be read or understood, or that a newer version wrote. It is left
  ///   as it is.
  mutating func read() throws -> State {
    let fresh = Self.fresh
    guard let file = try folder.open(file: Self.name, flags: O_RDONLY) else { return fresh }
    // Blocks as large as the state come and go: to get fresh pages from the kernel for each takes longer than to fill
    // them.
    _ = mallopt(M_MMAP_THRESHOLD, 64 << 20)
    _ = mallopt(M_TRIM_THRESHOLD, 64 << 20)
    let data = try FileHandle(fileDescriptor: file.raw, closeOnDealloc: false).readToEnd() ?? Data()
    let state = try coder.decode(data, path: "\(folder.path)/\(Self.name)")
    return state.netnsCookie == fresh.netnsCookie && state.bootID == fresh.bootID ? state : fresh
  }

  /// The state of a namespace that portmap has not been used in.
  static var fresh: State { State(netnsCookie: clinux_netns_cookie(), bootID: bootID) }

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

  private static var bootID: String { Files.word(of: "/proc/sys/kernel/random/boot_id") ?? "" }
}
