import CLinux
import Glibc

/// What is wrong with a state folder or file: its path and the reason, never repaired silently.
struct StateError: Error {
  let path: String
  let problem: String
  var isPermission = false
}

/// The folder that holds the state file, its lock and the control sockets.
///
/// It is opened once, checked, and everything in it is reached through that descriptor: nobody can put another one in
/// its place in between.
struct StateFolder {
  let path: String
  let descriptor: Descriptor

  /// Where the state is: the folder asked for, or the one of this namespace and user.
  static func path(option: String?, _ environment: [String: String]) -> String {
    func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    if let given = option ?? variable("PORTMAP_STATE_DIR") { return given }
    if geteuid() == 0 { return rootPath }
    let base = variable("XDG_RUNTIME_DIR").map { "\($0)/portmap" } ?? "/tmp/portmap-\(geteuid())"
    return "\(base)/netns-\(clinux_netns_cookie())"
  }

  /// Root's folder of the namespace that this process is in, whose lock covers the namespace's rules and links.
  static var rootPath: String {
    isHostNamespace ? "/run/portmap" : "/run/portmap/netns-\(clinux_netns_cookie())"
  }

  /// NET_NS_INIT_INO.
  private static let firstNamespace: ino_t = 0xEFFF_FFF9

  private static var isHostNamespace: Bool {
    var mine = stat()
    var host = stat()
    guard stat("/proc/self/ns/net", &mine) == 0 else { return false }
    // Where even root may not look at process 1, the number of the kernel's first namespace tells (nsfs.h).
    guard stat("/proc/1/ns/net", &host) == 0 else { return mine.st_ino == firstNamespace }
    return mine.st_ino == host.st_ino && mine.st_dev == host.st_dev
  }

  /// Opens a folder that is there; nil where none is.
  ///
  /// - Throws: StateError where it is a link, somebody else's, or others can write to it.
  static func open(_ path: String) throws(StateError) -> StateFolder? {
    for folder in guarded(path) {
      guard let opened = try openChecked(folder) else { return nil }
      if folder == path { return opened }
    }
    return try openChecked(path)
  }

  /// Opens a folder, and makes it, and those above it, where it is missing: 0755 for root, 0700 for others.
  static func make(_ path: String) throws(StateError) -> StateFolder {
    let mode: mode_t = geteuid() == 0 ? 0o755 : 0o700
    var partial = path.hasPrefix("/") ? "" : "."
    for part in path.split(separator: "/") {
      partial += "/\(part)"
      if mkdir(partial, mode) == 0 {
        // Whatever the caller's umask was.
        chmod(partial, mode)
      } else if errno != EEXIST, errno != EROFS {
        let code = errno
        throw StateError(
          path: partial,
          problem: SystemError(call: "mkdir", errno: code).reason,
          isPermission: code == EACCES || code == EPERM
        )
      }
    }
    guard let folder = try open(path) else {
      throw StateError(path: path, problem: "it was deleted meanwhile")
    }
    return folder
  }

  /// The folder and, where portmap chose it, the one above it: both are portmap's.
  private static func guarded(_ path: String) -> [String] {
    guard let slash = path.lastIndex(of: "/"), path[slash...].hasPrefix("/netns-") else { return [path] }
    return [String(path[..<slash]), path]
  }

  private static func openChecked(_ path: String) throws(StateError) -> StateFolder? {
    var bare = path
    while bare.count > 1, bare.last == "/" { bare.removeLast() }
    let raw = Glibc.open(bare, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard raw >= 0 else {
      let code = errno
      if code == ENOENT { return nil }
      var status = stat()
      let isLink = lstat(bare, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
      throw StateError(
        path: path,
        problem: isLink ? "it is a symbolic link" : SystemError(call: "open", errno: code).reason,
        isPermission: code == EACCES
      )
    }
    let descriptor = Descriptor(owning: raw)
    var status = stat()
    guard fstat(raw, &status) == 0 else { throw StateError(path: path, problem: "it cannot be looked at") }
    guard status.st_uid == geteuid() else {
      throw StateError(path: path, problem: "it belongs to user \(status.st_uid), not to \(geteuid())")
    }
    guard status.st_mode & 0o022 == 0 else {
      let mode = String(status.st_mode & 0o7777, radix: 8)
      throw StateError(path: path, problem: "others can write to it (mode \(mode))")
    }
    return StateFolder(path: path, descriptor: descriptor)
  }

  /// Opens a file of the folder that must be a regular one of this user's; nil where it is missing.
  func open(file name: String, flags: Int32) throws(StateError) -> Descriptor? {
    let raw = openat(descriptor.raw, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o600)
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

  /// What tells this folder's rules from those of others: nothing for root's own, otherwise six hexadecimal digits
  /// made from its path.
  var tag: String {
    if path == Self.rootPath { return "" }
    let real = realpath(path, nil)
    defer { free(real) }
    let text = real.map { String(cString: $0) } ?? path
    // FNV-1a, for it must be the same in every run.
    let hash = text.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    let digits = String(hash >> 8, radix: 16)
    return String(repeating: "0", count: 6 - digits.count) + digits
  }
}
