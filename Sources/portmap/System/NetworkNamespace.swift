import Glibc

/// A network namespace, as the kernel numbers those that are there.
struct NetworkNamespace: Hashable {
  private let device: dev_t
  let inode: ino_t

  /// The namespace that a process is in; nil where the process is gone, or may not be looked at.
  init?(of pid: Int32) {
    var status = stat()
    guard stat("/proc/\(pid)/ns/net", &status) == 0 else { return nil }
    device = status.st_dev
    inode = status.st_ino
  }

  /// The namespace that has a number; nil where /proc shows none at all.
  init?(inode: UInt64) {
    guard let own = NetworkNamespace(of: getpid()) else { return nil }
    device = own.device
    self.inode = ino_t(inode)
  }

  /// The namespace that a path leads to, as `/run/netns/NAME` does; nil where nothing is there, or no namespace.
  init?(at path: String) {
    var status = stat()
    var own = stat()
    // All namespaces are files of one file system (nsfs), and of no other.
    guard stat(path, &status) == 0, stat("/proc/self/ns/net", &own) == 0, status.st_dev == own.st_dev else {
      return nil
    }
    device = status.st_dev
    inode = status.st_ino
  }

  /// Whether anything that can be seen keeps the namespace besides these processes: another process that is in it, or
  /// a mount of it, which is what a name under /run/netns is.
  func isKept(besides processes: Set<Int32>) -> Bool {
    isMounted || Self.processes.contains { !processes.contains($0) && NetworkNamespace(of: $0) == self }
  }

  /// Fourth field of proc_pid_mountinfo(5): `net:[4026532000]`.
  private var isMounted: Bool {
    let mounts = Files.contents(of: "/proc/self/mountinfo") ?? []
    return String(decoding: mounts, as: UTF8.self).contains(" net:[\(inode)] ")
  }

  private static var processes: [Int32] { (Files.names(in: "/proc") ?? []).compactMap { Int32($0) } }
}

extension NetworkNamespace: TextCodable {
  /// `4:4026532000`: the device and the number of its file.
  init?(text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, let device = dev_t(parts[0]), let inode = ino_t(parts[1]) else { return nil }
    self.device = device
    self.inode = inode
  }

  var text: String { "\(device):\(inode)" }
}
