import CLinux
import Glibc

/// What ends a proxy in the foreground: INT, TERM, and the end of the process that started it where that is asked for.
final class ProxyEnding: EventHandler {
  let loop: EventLoop
  private let signals: Descriptor
  private let parent: Descriptor?

  init(_ loop: EventLoop, withParent: Bool) throws(SystemError) {
    self.loop = loop
    // Blocked from here on, so that a signal ends the loop instead of the process.
    signals = try Descriptor("signalfd") { clinux_termination_descriptor() }
    parent = withParent ? try Self.watchParent() : nil
    for descriptor in [signals, parent].compactMap(\.self) {
      _ = try loop.add(descriptor, events: Readiness.input, handler: self)
    }
  }

  /// Serves until one of them comes.
  func wait() throws(SystemError) {
    try loop.run()
  }

  func handle(events: UInt32, tag: UInt32) { loop.stop() }

  /// Opens a descriptor that becomes readable when the process that started this one ends (pidfd_open(2)).
  ///
  /// The kernel can send a signal instead, and dockerd asks it to. But that comes at the end of the thread that started
  /// this process, and dockerd's threads come and go: so it is called off, and stays where a process cannot be watched
  /// (kernels before 5.3, a parent outside this pid namespace).
  private static func watchParent() throws(SystemError) -> Descriptor? {
    let pid = getppid()
    let raw = clinux_pidfd_open(pid)
    let descriptor = raw < 0 ? nil : Descriptor(owning: raw)
    try syscall("prctl") { clinux_set_parent_death_signal(descriptor == nil ? SIGTERM : 0) }
    // One that has ended meanwhile has left this process to another one.
    if getppid() != pid { throw SystemError(call: "getppid", errno: ESRCH, subject: "the parent process") }
    return descriptor
  }
}
