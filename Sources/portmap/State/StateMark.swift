import Glibc

/// What tells one state file from the next, without reading it: each is a new file.
struct StateMark: Hashable, Sendable {
  let inode: UInt64
  /// When it got its name, in seconds and nanoseconds.
  let seconds: Int64
  let nanoseconds: Int64

  init(inode: UInt64, seconds: Int64, nanoseconds: Int64) {
    self.inode = inode
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  /// The mark of the state file in a folder; nil where there is none.
  init?(_ folder: StateFolder) {
    var status = stat()
    guard folder.has(StateFile.name),
      fstatat(folder.descriptor.raw, StateFile.name, &status, AT_SYMLINK_NOFOLLOW) == 0
    else { return nil }
    self.init(
      inode: UInt64(status.st_ino),
      seconds: Int64(status.st_ctim.tv_sec),
      nanoseconds: Int64(status.st_ctim.tv_nsec)
    )
  }
}
