import CLinux
import Glibc

/// What is wrong with a state folder or file: its path and the reason, never repaired silently.
struct StateError: Error {
  let path: String
  let problem: String
  var isPermission = false
  var hint: String?
}

/// The folder that holds the state file, its lock and the control sockets.
///
/// It is opened once, checked, and everything in it is reached through that descriptor: nobody can put another one in
/// its place in between.
struct StateFolder {
  let path: String
  /// A folder that is not there has a descriptor that is not open.
  let descriptor: Descriptor
  /// Six hexadecimal digits that tell what is made on behalf of this folder from what is made for any other, until the
  /// state has them written down.
  ///
  /// They come from the name of the folder and from the identity of the folder above it: a state that is lost gets them
  /// again, and another file system on /run, a container's for one, gives others.
  let freshTag: String

  /// How often a folder is made that somebody deletes at once.
  private static let attempts = 100

  private var isThere: Bool { descriptor.raw >= 0 }

  /// Opens a folder that is there; nil where none is.
  ///
  /// - Throws: StateError where it is a link, somebody else's, or others can write to it.
  static func open(_ place: StatePath) throws(StateError) -> StateFolder? {
    let folder = try look(at: place)
    return folder.isThere ? folder : nil
  }

  /// Opens a folder to look at it only: one that is not there has no files, and stays away.
  static func look(at place: StatePath) throws(StateError) -> StateFolder {
    var walk = try FolderWalk(to: place)
    let reached = try walk.run(making: false)
    return StateFolder(path: place.path, descriptor: reached ?? Descriptor(owning: -1), freshTag: walk.tag)
  }

  /// Opens a folder, and makes it, and those above it, where it is missing: 0755 for root, 0700 for others.
  static func make(_ place: StatePath) throws(StateError) -> StateFolder {
    // It may be deleted between the making and the opening, as a folder that holds nothing (AbandonedFolders).
    for _ in 0..<attempts {
      var walk = try FolderWalk(to: place)
      if let descriptor = try walk.run(making: true) {
        return StateFolder(path: place.path, descriptor: descriptor, freshTag: walk.tag)
      }
    }
    throw StateError(path: place.path, problem: "it is deleted again and again")
  }

  /// Opens a file of the folder that must be a regular one of this user's; nil where it is missing.
  func open(file name: String, flags: Int32) throws(StateError) -> Descriptor? {
    guard isThere else { return nil }
    // Sticky: what clears folders of old files, systemd-tmpfiles(8) for one, leaves such a file alone.
    let mode: mode_t = S_ISVTX | S_IRUSR | S_IWUSR
    let raw = openat(descriptor.raw, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode)
    let path = "\(self.path)/\(name)"
    guard raw >= 0 else {
      let code = errno
      if code == ENOENT { return nil }
      let problem = code == ELOOP ? "it is a symbolic link" : SystemError(call: "open", errno: code).reason
      throw StateError(path: path, problem: problem, isPermission: code == EACCES)
    }
    let file = Descriptor(owning: raw)
    var status = stat()
    guard fstat(raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw StateError(path: path, problem: "it is not a regular file")
    }
    guard status.st_uid == geteuid() else {
      throw StateError(path: path, problem: "it belongs to user \(status.st_uid), not to \(geteuid())")
    }
    return file
  }

  /// Whether there is a file of that name.
  func has(_ name: String) -> Bool {
    isThere && faccessat(descriptor.raw, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0
  }

  /// The names of all files.
  var names: [String] { isThere ? Files.names(in: "/proc/self/fd/\(descriptor.raw)") ?? [] : [] }

  /// What told this folder's rules from those of others in the first version, which did not write it down: nothing for
  /// root's own, otherwise digits made from its path.
  var formerTag: String {
    if path == StatePath.root.path { return "" }
    let real = realpath(path, nil)
    defer { free(real) }
    return Self.tag(from: real.map { String(cString: $0) } ?? path)
  }

  /// Whether a text from a state file is a tag: digits, or nothing.
  static func isTag(_ text: String) -> Bool {
    let digits = Set("0123456789abcdef")
    return text.isEmpty || (text.count == 6 && text.allSatisfy(digits.contains))
  }

  /// Six hexadecimal digits that a text always comes to (FNV-1a).
  static func tag(from text: String) -> String {
    let hash = text.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    let digits = String(hash >> 8, radix: 16)
    return String(repeating: "0", count: 6 - digits.count) + digits
  }
}
