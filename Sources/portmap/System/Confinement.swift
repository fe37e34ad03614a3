import CLinux
import Glibc

/// The last step of a process before it serves: it gives up what serving does not need.
enum Confinement {
  /// Leaves this process with the calls of `SystemCallFilter.serving`, without other processes, core dumps and
  /// privileges, and shut to others of the same user. Whatever the process still has to open must be open.
  ///
  /// - Parameters:
  ///   - sockets: The kinds that it opens to its backends.
  ///   - log: Where this is wanted, tells of every call that is refused.
  static func enter(_ sockets: Set<SocketKind>, _ log: DebugLog) throws(SystemError) {
    try syscall("prctl") { clinux_close_process() }
    try syscall("prctl") { clinux_set_no_new_privileges() }
    if log.isOn { try syscall("sigaction") { clinux_tell_refused_calls() } }
    let program = SystemCallFilter.serving(sockets).program(log.isOn ? .toldFailure : .failure)
    do {
      try syscall("seccomp") { clinux_filter_system_calls(program, UInt16(program.count)) }
    } catch  where error.errno == ENOSYS || error.errno == EINVAL {
      // A kernel without it: everything else that keeps the process in is in place.
      log.say("this kernel cannot filter system calls: \(error.reason)")
    }
  }
}
