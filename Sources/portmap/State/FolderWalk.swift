import CLinux
import Glibc

/// The way to a state folder, one name after the other, each opened in the folder before it.
///
/// Theory of operation. Nothing is looked up twice by its path, so nobody can change the way in between:
///
///     a folder above portmap's own    is entered, whoever's it is
///     a link above portmap's own      is followed; nothing is made behind it unless only root or the user can have put
///                                     it there, as /var/run
///     one of portmap's own folders    must be a folder, the user's, and closed to others
///     what is missing                 is made, or ends the walk
struct FolderWalk {
  private let place: StatePath
  private let names: [Substring]
  private var folder: Descriptor
  /// What the path of a folder in `folder` begins with, for messages.
  private var prefix: String
  /// A link on the way that anybody could have put there.
  private var strangersLink: String?
  /// What tells the folder above portmap's own from any other, and the names from there on.
  private var identity: String

  init(to place: StatePath) throws(StateError) {
    self.place = place
    names = place.path.split(separator: "/")
    prefix = place.path.hasPrefix("/") ? "/" : ""
    let start = prefix.isEmpty ? "." : prefix
    let raw = clinux_open_passage(AT_FDCWD, start, 1)
    guard raw >= 0 else { throw Self.failure(start, errno) }
    folder = Descriptor(owning: raw)
    identity = Self.identity(of: folder)
  }

  /// Six hexadecimal digits that tell the folder from any other, for this way of it.
  var tag: String { StateFolder.tag(from: identity) }

  /// Walks to the end.
  ///
  /// - Returns: The folder, open for reading; nil where it is not there.
  mutating func run(making: Bool) throws(StateError) -> Descriptor? {
    let firstOwn = names.count - place.ownNames
    var isThere = true
    for (index, name) in names.enumerated() {
      if isThere, index <= firstOwn { identity = Self.identity(of: folder) }
      identity += "/\(name)"
      if isThere { isThere = try enter(name, isOwn: index >= firstOwn, making: making) }
    }
    guard isThere else { return nil }
    if names.isEmpty { try check(place.path) }
    let raw = openat(folder.raw, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard raw >= 0 else { throw Self.failure(place.path, errno) }
    return Descriptor(owning: raw)
  }

  /// Goes on to the folder of that name; false where it is missing.
  private mutating func enter(_ name: Substring, isOwn: Bool, making: Bool) throws(StateError) -> Bool {
    let path = prefix + name
    var next = try open(name, path)
    if next == nil, isLink(name) {
      guard !isOwn else { throw StateError(path: path, problem: "it is a symbolic link") }
      if strangersLink == nil, !isTrusted(link: name) { strangersLink = path }
      next = try open(name, path, following: true)
    } else if next == nil, making {
      try make(name, path)
      next = try open(name, path)
    }
    guard let next else { return false }
    folder = next
    prefix = path + "/"
    if isOwn { try check(path) }
    return true
  }

  /// Opens a folder in the one that was reached; nil where it is missing, or a link that is not to be followed.
  private func open(_ name: Substring, _ path: String, following: Bool = false) throws(StateError)
    -> Descriptor?
  {
    let raw = clinux_open_passage(folder.raw, String(name), following ? 1 : 0)
    if raw >= 0 { return Descriptor(owning: raw) }
    let code = errno
    if code == ENOENT || (!following && isLink(name)) { return nil }
    throw Self.failure(path, code)
  }

  private func make(_ name: Substring, _ path: String) throws(StateError) {
    if let strangersLink {
      throw StateError(path: strangersLink, problem: "it is a symbolic link that others can have put there")
    }
    // With no mask the mode is right from the first instant, whatever the caller's is.
    let mask = umask(0)
    defer { umask(mask) }
    guard mkdirat(folder.raw, String(name), geteuid() == 0 ? 0o755 : 0o700) == 0 || errno == EEXIST else {
      throw Self.failure(path, errno)
    }
  }

  private func isLink(_ name: Substring) -> Bool {
    var status = stat()
    return fstatat(folder.raw, String(name), &status, AT_SYMLINK_NOFOLLOW) == 0
      && status.st_mode & S_IFMT == S_IFLNK
  }

  /// Whether nobody but root and this user can have put a link there, or can put another one in its place.
  private func isTrusted(link name: Substring) -> Bool {
    var link = stat()
    var folder = stat()
    guard fstatat(self.folder.raw, String(name), &link, AT_SYMLINK_NOFOLLOW) == 0,
      fstat(self.folder.raw, &folder) == 0
    else { return false }
    let trusted = [0, geteuid()]
    let isClosed = folder.st_mode & 0o022 == 0 || folder.st_mode & S_ISVTX != 0
    return trusted.contains(link.st_uid) && trusted.contains(folder.st_uid) && isClosed
  }

  /// Checks that the folder reached is the user's, and that others cannot write to it.
  private func check(_ path: String) throws(StateError) {
    var status = stat()
    guard fstat(folder.raw, &status) == 0 else {
      throw StateError(path: path, problem: "it cannot be looked at")
    }
    guard status.st_uid == geteuid() else {
      throw StateError(path: path, problem: "it belongs to user \(status.st_uid), not to \(geteuid())")
    }
    guard status.st_mode & 0o022 == 0 else {
      let mode = String(status.st_mode & 0o7777, radix: 8)
      throw StateError(path: path, problem: "others can write to it (mode \(mode))")
    }
  }

  private static func identity(of folder: Descriptor) -> String {
    var status = stat()
    return fstat(folder.raw, &status) == 0 ? "\(status.st_dev):\(status.st_ino)" : ""
  }

  private static func failure(_ path: String, _ code: Int32) -> StateError {
    StateError(
      path: path,
      problem: SystemError(call: "open", errno: code).reason,
      isPermission: code == EACCES || code == EPERM
    )
  }
}
