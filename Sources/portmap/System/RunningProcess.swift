import CLinux
import Glibc

extension ProcessIdentity {
  /// The process that has this number now; nil where there is none.
  init?(pid: Int32) {
    guard pid > 0, let bytes = Files.contents(of: "/proc/\(pid)/stat") else { return nil }
    // The second field is the program's name in parentheses and may hold anything, spaces and parentheses too.
    let text = String(decoding: bytes, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[end...].split(separator: " ")
    guard fields.count > 20, let start = UInt64(fields[20]), fields[1] != "Z" else { return nil }
    self.init(pid: pid, startTime: start)
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

  /// Waits until the process is gone; false when it still runs after that many milliseconds.
  func ends(within milliseconds: Int32) -> Bool {
    withPidfd { Self.wait($0, milliseconds: milliseconds) } ?? true
  }

  /// Nil where the process is gone.
  private func withPidfd<Result>(_ body: (Descriptor) -> Result) -> Result? {
    let raw = clinux_pidfd_open(pid)
    guard raw >= 0 else { return nil }
    let pidfd = Descriptor(owning: raw)
    // Looked at after the pidfd was opened: from here on the number cannot pass to somebody else unnoticed.
    return isAlive ? body(pidfd) : nil
  }

  @discardableResult
  private static func wait(_ pidfd: Descriptor, milliseconds: Int32) -> Bool {
    var request = pollfd(fd: pidfd.raw, events: Int16(POLLIN), revents: 0)
    return poll(&request, 1, milliseconds) > 0
  }

  /// How the process was called, for messages: `portmap map 8080:80`.
  static func commandLine(of pid: Int32) -> String? {
    guard let bytes = Files.contents(of: "/proc/\(pid)/cmdline"), !bytes.isEmpty else { return nil }
    let words = bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
    return words.prefix(6).joined(separator: " ")
  }
}
