import CLinux
import Glibc

/// The root of the host's control groups, version 2 (cgroups(7)): every process of the host is in it or below.
enum RootCgroup {
  /// The number of the root's inode; that of what a cgroup namespace takes for the root is another.
  private static let inode: ino_t = 1

  /// Where systemd mounts it, alone or beside version 1: there it is found without a look at all mounts.
  private static let usualPlaces = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]

  /// Why the root cannot be had.
  enum Problem: Error {
    /// What can be reached is the root of a cgroup namespace.
    case ofNamespace
    /// The kernel has no control groups of version 2, or does not show them to this process.
    case unreachable(SystemError)
  }

  /// Opens the root by any of its mounts that this process sees, or, where it sees none (`ip netns exec` hides them), its
  /// parent or the first process; else by a new mount that nobody sees.
  static func open() throws(Problem) -> Descriptor {
    for place in usualPlaces {
      if let folder = folder(at: place), isRoot(folder) { return folder }
    }
    var isOfNamespace = false
    for (process, prefix) in views {
      for mount in Mount.all(of: process) where mount.type == "cgroup2" {
        guard let folder = folder(at: prefix + mount.path) else { continue }
        if isRoot(folder) { return folder }
        isOfNamespace = true
      }
      guard !isOfNamespace else { throw .ofNamespace }
    }
    let root = try mounted()
    guard isRoot(root) else { throw .ofNamespace }
    return root
  }

  /// Opens a folder; nil where it is of another file system, perhaps of a mount that hides one of control groups.
  private static func folder(at path: String) -> Descriptor? {
    let raw = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard raw >= 0 else { return nil }
    let folder = Descriptor(owning: raw)
    return clinux_is_in_cgroups(raw) == 1 ? folder : nil
  }

  /// Processes whose mounts may show the root, and how their paths are reached: this one, and those of the same cgroup
  /// namespace.
  private static var views: [(process: String, prefix: String)] {
    [("self", "")]
      + ["\(getppid())", "1"].filter { namespace(of: $0) == namespace(of: "self") }.map {
        ($0, "/proc/\($0)/root")
      }
  }

  private static func namespace(of process: String) -> ino_t? {
    var status = stat()
    return stat("/proc/\(process)/ns/cgroup", &status) == 0 ? status.st_ino : nil
  }

  /// A new mount sets the options of all of them (cgroup_get_tree in the kernel's cgroup.c), so it gets those that the
  /// first process sees. It takes the kernel some 10 ms.
  private static func mounted() throws(Problem) -> Descriptor {
    let known = Mount.all(of: "1").first { $0.type == "cgroup2" }?.options ?? []
    let options = known.filter { !["rw", "ro"].contains($0) }.map { $0 + "\0" }.joined() + "\0"
    do {
      return try Descriptor("fsopen", about: "cgroup2") { clinux_open_cgroups(options) }
    } catch {
      throw .unreachable(error)
    }
  }

  private static func isRoot(_ folder: Descriptor) -> Bool {
    var status = stat()
    return fstat(folder.raw, &status) == 0 && status.st_ino == inode
  }
}
