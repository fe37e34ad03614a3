import CLinux
import Glibc

extension ProcessIdentity {
  /// The process that has this number in /proc now; nil where there is none.
  init?(pid: Int32) {
    guard pid > 0, let bytes = Files.contents(of: "/proc/\(pid)/stat") else { return nil }
    // The second field is the program's name in parentheses and may hold anything, spaces and parentheses too.
    let text = String(decoding: bytes, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[end...].split(separator: " ")
    guard fields.count > 20, let start = UInt64(fields[20]), fields[1] != "Z" else { return nil }
    self.init(pid: pid, startTime: start)
  }

  /// The process that a pidfd stands for; nil where it is gone, or /proc does not show it.
  ///
  /// Where /proc is another process namespace's, the number in there is another one than the kernel's for this process,
  /// and may be somebody else's here: the pidfd's own entry in /proc tells it.
  init?(_ pidfd: Descriptor) {
    guard let number = Self.number(of: pidfd), let process = ProcessIdentity(pid: number),
      // It was still there after its start time was read, so the number was its own all the time.
      Self.number(of: pidfd) == number
    else { return nil }
    self = process
  }

  /// The process that has this number for the kernel, a child's for example.
  init?(kernelPID pid: Int32) {
    let raw = clinux_pidfd_open(pid)
    guard raw >= 0 else { return nil }
    self.init(Descriptor(owning: raw))
  }

  /// The number by which /proc calls the process of a pidfd; nil where it is gone.
  private static func number(of pidfd: Descriptor) -> Int32? {
    guard let bytes = Files.contents(of: "/proc/self/fdinfo/\(pidfd.raw)") else { return nil }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    let words = lines.lazy.map { $0.split(separator: "\t") }.first { $0.count == 2 && $0[0] == "Pid:" }
    return words.flatMap { Int32($0[1]) }.flatMap { $0 > 0 ? $0 : nil }
  }

  /// Whether it still runs; a zombie does not.
  var isAlive: Bool { ProcessIdentity(pid: pid) == self }

  /// Kills the process, and only that one, and waits until it is gone.
  func kill() {
    _ = withPidfd { pidfd in
      _ = clinux_pidfd_send_signal(pidfd.raw, SIGKILL)
      Self.wait(pidfd, milliseconds: 5000)
    }
  }

  /// Waits until the process is gone; false when it still runs after that many milliseconds, or when a signal asks the
  /// command to end meanwhile.
  func ends(within milliseconds: Int) -> Bool {
    withPidfd { Self.wait($0, milliseconds: milliseconds) } ?? !isAlive
  }

  /// Nil where the process is gone, or cannot be told from another one.
  private func withPidfd<Result>(_ body: (Descriptor) -> Result) -> Result? {
    let raw = clinux_pidfd_open(pid)
    guard raw >= 0 else { return nil }
    let pidfd = Descriptor(owning: raw)
    return ProcessIdentity(pidfd) == self ? body(pidfd) : nil
  }

  @discardableResult
  private static func wait(_ pidfd: Descriptor, milliseconds: Int) -> Bool {
    (try? Deadline.after(milliseconds: milliseconds).wait(for: POLLIN, of: pidfd)) ?? false
  }

  /// The words with which a process was started; nil where it is gone or has none.
  static func words(of pid: Int32) -> [String]? {
    guard let bytes = Files.contents(of: "/proc/\(pid)/cmdline"), !bytes.isEmpty else { return nil }
    return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }

  /// How the process was called, for messages: `portmap map 8080:80`.
  static func commandLine(of pid: Int32) -> String? {
    words(of: pid)?.prefix(6).joined(separator: " ")
  }
}
