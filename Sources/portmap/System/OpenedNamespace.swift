import CLinux
import Glibc

/// A network namespace that cannot be entered by the name that was given.
struct NamespaceError: Error, Equatable {
  enum Problem: Equatable {
    /// There is no such file.
    case missing
    /// There is no such process.
    case noProcess
    /// The name means something else.
    case notANamespace
    /// It is the namespace that portmap is in.
    case own
    case notPermitted
    case failed(SystemError)
  }

  let name: NamespaceName
  let problem: Problem
}

extension NamespaceError {
  /// The reason why a process could not go into a namespace.
  init(_ name: NamespaceName, becauseOf error: SystemError) {
    self.init(name: name, problem: error.errno == EPERM ? .notPermitted : .failed(error))
  }
}

/// A network namespace by the descriptor with which it can be entered.
struct OpenedNamespace {
  let guest: GuestNamespace
  let descriptor: Descriptor

  /// Opens what a name means now.
  init(_ name: NamespaceName) throws(NamespaceError) {
    func error(_ problem: NamespaceError.Problem) -> NamespaceError {
      NamespaceError(name: name, problem: problem)
    }
    let path = name.isPath ? name.text : "/run/netns/\(name)"
    let pid = Files.exists(path) ? nil : name.pid
    let process = pid.flatMap { ProcessIdentity(pid: $0) }
    if pid != nil, process == nil { throw error(.noProcess) }
    // Whoever opens a pipe would else wait for its other end.
    let flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK
    let raw = open(process.map { "/proc/\($0.pid)/ns/net" } ?? path, flags)
    guard raw >= 0 else {
      switch errno {
      case ENOENT, ENOTDIR: throw error(process == nil ? .missing : .noProcess)
      case ESRCH: throw error(.noProcess)
      case EACCES, EPERM: throw error(.notPermitted)
      default: throw error(.failed(SystemError(call: "open", errno: errno)))
      }
    }
    descriptor = Descriptor(owning: raw)
    guard clinux_is_network_namespace(raw) == 1 else { throw error(.notANamespace) }
    // It was still the same process after its namespace was opened, and not a later one with its number.
    if let process, !process.isAlive { throw error(.noProcess) }
    var status = stat()
    guard fstat(raw, &status) == 0 else { throw error(.failed(SystemError(call: "fstat", errno: errno))) }
    if status.st_ino == NetworkNamespace(of: getpid())?.inode { throw error(.own) }
    let identity = NamespaceIdentity(inode: UInt64(status.st_ino), startTime: process?.startTime)
    guest = GuestNamespace(name: name, identity: identity)
  }
}

extension OpenedNamespace {
  /// Moves this process into the namespace.
  func enter() throws(NamespaceError) {
    do throws(SystemError) {
      _ = try Self.enter(descriptor)
    } catch {
      throw NamespaceError(guest.name, becauseOf: error)
    }
  }

  /// Moves this process into the namespace: root just into the network namespace, where nobody of its user namespace has
  /// any power over the process; an ordinary user first into the user namespace that it belongs to (setns(2),
  /// user_namespaces(7)).
  ///
  /// From then on nobody in there can look at this process: before it is of that user namespace it is made undumpable,
  /// which ptrace(2) and all of /proc/PID that shows memory or descriptors ask for. The sockets that are open stay those
  /// of the namespace that they were opened in. It takes a process of one thread.
  ///
  /// - Returns: Whether it is in another user namespace now.
  static func enter(_ namespace: Descriptor) throws(SystemError) -> Bool {
    try syscall("prctl") { clinux_set_undumpable() }
    do {
      try syscall("setns") { clinux_enter_network_namespace(namespace.raw) }
      return false
    } catch  where error.errno == EPERM {
      // The kernel wants CAP_SYS_ADMIN in one's own user namespace as well.
      let owner = try Descriptor("ioctl") { clinux_owner_of_namespace(namespace.raw) }
      // EINVAL: it is that one already, and the right is lacking.
      guard clinux_enter_user_namespace(owner.raw) == 0 else {
        throw errno == EINVAL ? error : SystemError(call: "setns", errno: errno)
      }
      // New credentials set it back to what fs.suid_dumpable says (proc_sys_fs(5)).
      try syscall("prctl") { clinux_set_undumpable() }
      try syscall("setns") { clinux_enter_network_namespace(namespace.raw) }
      return true
    }
  }
}
