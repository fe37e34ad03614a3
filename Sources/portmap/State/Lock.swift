import CLinux
import Glibc

/// An exclusive flock: one changing command at a time, a folder or a namespace.
///
/// A program that gets the descriptor as its standard input keeps the lock until it has ended too, though the command
/// that started it may have been killed.
struct Lock {
  let descriptor: Descriptor

  static let fileName = "lock"
  private static let secondsOfSilence = 2

  /// Makes a folder where it is missing, and waits until nobody else has its lock; says after two seconds whom it is
  /// waiting for.
  ///
  /// - Throws: StateError where the folder or the lock file is not what it should be; Interruption on a signal.
  static func take(making place: StatePath, say: (String) -> Void) throws -> (StateFolder, Lock) {
    while true {
      let folder = try StateFolder.make(place)
      if let lock = try take(folder, O_CREAT, say: say) { return (folder, lock) }
      // It was deleted between the two: it held nothing (AbandonedFolders).
      try Interruption.check()
    }
  }

  /// Waits until nobody has a folder's lock, and makes nothing: nil where there is no lock file, so nobody has it.
  static func take(lookingAt folder: StateFolder, say: (String) -> Void) throws -> Lock? {
    try take(folder, 0, say: say)
  }

  /// Takes a folder's lock if nobody else has it.
  static func tryTaking(_ folder: StateFolder) throws -> Lock? {
    guard let file = try folder.open(file: fileName, flags: O_RDWR | O_CREAT),
      flock(file.raw, LOCK_EX | LOCK_NB) == 0
    else { return nil }
    return Lock(of: file)
  }

  /// Nil where the lock file is missing, or was deleted while somebody else had it.
  private static func take(_ folder: StateFolder, _ flags: Int32, say: (String) -> Void) throws -> Lock? {
    guard let file = try folder.open(file: fileName, flags: O_RDWR | flags) else { return nil }
    if flock(file.raw, LOCK_EX | LOCK_NB) == 0 { return Lock(of: file) }
    // The ticks let a signal be noticed that came just before flock blocked.
    _ = clinux_set_ticks(100)
    defer { _ = clinux_set_ticks(0) }
    let start = time(nil)
    var said = false
    while flock(file.raw, LOCK_EX) != 0 {
      guard errno == EINTR else { throw SystemError(call: "flock", errno: errno, subject: folder.path) }
      try Interruption.check()
      if !said, time(nil) - start >= secondsOfSilence {
        said = true
        say("waiting for \(owner(of: file) ?? "another command") to finish")
      }
    }
    return Lock(of: file)
  }

  /// Nil for a file that no folder has any more: others lock another one.
  private init?(of file: Descriptor) {
    var status = stat()
    guard fstat(file.raw, &status) == 0, status.st_nlink > 0 else { return nil }
    descriptor = file
  }

  /// Whether two folders have the same lock, so that taking both would be waiting for oneself.
  static func isShared(_ one: StateFolder, _ other: StateFolder) -> Bool {
    var first = stat()
    var second = stat()
    return fstat(one.descriptor.raw, &first) == 0 && fstat(other.descriptor.raw, &second) == 0
      && first.st_ino == second.st_ino && first.st_dev == second.st_dev
  }

  /// Who took the lock, from /proc/locks: `1: FLOCK  ADVISORY  WRITE 1234 00:19:5678 0 EOF`.
  private static func owner(of file: Descriptor) -> String? {
    var status = stat()
    guard fstat(file.raw, &status) == 0, let bytes = Files.contents(of: "/proc/locks") else { return nil }
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count > 5, words[1] == "FLOCK", words[5].hasSuffix(":\(status.st_ino)"),
        let pid = Int32(words[4])
      else { continue }
      let command = ProcessIdentity.commandLine(of: pid)
      return command.map { "\($0) (process \(pid))" } ?? "what process \(pid) left running"
    }
    return nil
  }
}
