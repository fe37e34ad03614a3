/// The number of a process with its start time, which tells it from a later process with the same number.
struct ProcessIdentity: Hashable, Sendable {
  let pid: Int32
  /// The time at which it started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
  let startTime: UInt64
}
