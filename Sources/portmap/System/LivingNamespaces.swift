import Glibc

/// Tells which network namespaces are of any use still, by the numbers of their inodes.
enum LivingNamespaces {
  /// Returns those of some namespaces that a mount keeps (a name under /run/netns is one) or that a process is in. A
  /// background process of portmap's does not count: one that keeps a namespace all by itself serves nobody.
  ///
  /// A namespace that only an open file keeps is not found. Nobody is in it. Who does not see all processes of the host
  /// takes all of them to be of use: a container with process numbers of its own sees neither those outside nor what
  /// they have mounted.
  static func among(_ inodes: Set<UInt32>) -> Set<UInt32> {
    guard inode("self", "pid") == hostProcesses else { return inodes }
    var missing = inodes
    func see(_ mounts: [UInt8]?) {
      let text = String(decoding: mounts ?? [], as: UTF8.self)
      missing = missing.filter { !text.contains(" net:[\($0)] ") }
    }
    see(Files.contents(of: "/proc/self/mountinfo"))
    guard !missing.isEmpty else { return inodes }
    let processes = (Files.names(in: "/proc") ?? []).compactMap { Int32($0) }
    for process in processes where !missing.isEmpty {
      guard let inode = inode("\(process)", "net"), missing.contains(inode), !isBackground(process) else {
        continue
      }
      missing.remove(inode)
    }
    // Other mount namespaces may have mounts that this one does not see.
    var seen = Set([inode("self", "mnt")])
    for process in processes where !missing.isEmpty {
      guard seen.insert(inode("\(process)", "mnt")).inserted else { continue }
      see(Files.contents(of: "/proc/\(process)/mountinfo"))
    }
    return inodes.subtracting(missing)
  }

  /// The number of the pid namespace that the host's first process is in: PROC_PID_INIT_INO of the kernel's proc_ns.h.
  private static let hostProcesses: UInt32 = 0xEFFF_FFFC

  /// The number of the namespace that a process is in; nil where it is gone, or may not be looked at.
  private static func inode(_ process: String, _ kind: String) -> UInt32? {
    var status = stat()
    guard stat("/proc/\(process)/ns/\(kind)", &status) == 0 else { return nil }
    return UInt32(truncatingIfNeeded: status.st_ino)
  }

  private static func isBackground(_ process: Int32) -> Bool {
    let command = Files.contents(of: "/proc/\(process)/cmdline") ?? []
    return String(decoding: command, as: UTF8.self).hasPrefix("portmap\0hold\0")
  }
}
