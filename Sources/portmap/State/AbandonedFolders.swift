import Glibc

/// The folders of network namespaces that hold nothing any more.
///
/// That nobody is in a namespace proves nothing, for mounts and links keep it as well; so a folder goes when its state
/// is empty, or of an earlier boot. It goes under its own lock: whoever was waiting for that lock finds that the lock
/// file was deleted, and makes the folder anew.
enum AbandonedFolders {
  /// How many folders are looked at by one command, so that it stays quick however many there are.
  private static let looksAtMost = 32
  /// A larger state file of this boot holds something, and its beginning tells which boot it is of.
  private static let largestEmptyState = 4096

  /// Deletes what is abandoned on a shelf of such folders, but never the folder of this namespace. What cannot be
  /// deleted stays, without a word.
  static func delete(from shelf: String?) {
    guard let shelf, let folder = try? StateFolder.open(StatePath(shelf)) else { return }
    let own = StatePath.namespaceName
    let others = folder.names.filter { $0.hasPrefix(StatePath.namespacePrefix) && $0 != own }
    for name in others.shuffled().prefix(looksAtMost) {
      guard let other = try? StateFolder.open(StatePath("\(shelf)/\(name)", ownNames: 2)) else { continue }
      if (try? empty(other)) == true { unlinkat(folder.descriptor.raw, name, AT_REMOVEDIR) }
    }
  }

  /// Deletes the files of a folder that is abandoned; false where it is not.
  private static func empty(_ folder: StateFolder) throws -> Bool {
    guard let lock = try Lock.tryTaking(folder), try isAbandoned(folder) else { return false }
    defer { withExtendedLifetime(lock) {} }
    for name in folder.names.filter({ $0 != Lock.fileName }) + [Lock.fileName] {
      unlinkat(folder.descriptor.raw, name, 0)
    }
    return true
  }

  private static func isAbandoned(_ folder: StateFolder) throws -> Bool {
    if let file = try folder.open(file: StateFile.name, flags: O_RDONLY), holdsSomething(file) {
      return false
    }
    var file = StateFile(folder: folder)
    let state = try file.recorded()
    let isOfThisBoot = state.map { $0.bootID == StateFile.bootID } ?? true
    let mayGo = [Lock.fileName, StateFile.name, StateFile.newName, StateFile.spareName]
    // Of an earlier boot, a control socket leads nowhere. Anything else, a damaged state's copy too, is kept.
    return folder.names.allSatisfy {
      mayGo.contains($0) || (!isOfThisBoot && ControlSocket.id(of: $0) != nil)
    }
      && (!isOfThisBoot || state?.holdsNothing ?? true)
  }

  /// Whether a state file is large and of this boot, told without reading all of it; there may be many such.
  private static func holdsSomething(_ file: Descriptor) -> Bool {
    var status = stat()
    guard fstat(file.raw, &status) == 0, status.st_size > largestEmptyState else { return false }
    var start = [UInt8](repeating: 0, count: largestEmptyState)
    let count = pread(file.raw, &start, start.count, 0)
    return String(decoding: start.prefix(max(count, 0)), as: UTF8.self).contains(StateFile.bootID)
  }
}

extension State {
  /// Whether there is nothing left to take away.
  fileprivate var holdsNothing: Bool { isEmpty && chains.isEmpty }
}
