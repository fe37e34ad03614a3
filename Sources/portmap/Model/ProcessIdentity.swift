/// A process that cannot be mistaken for another one that was given its number later.
struct ProcessIdentity: Hashable, Sendable {
  let pid: Int32
  /// When it started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
  let startTime: UInt64
}
