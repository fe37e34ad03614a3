import CLinux
import Glibc

/// A pass that is under way: this program once more, which takes the memory that it has touched with it.
///
/// It has the standard streams of the watcher, a socket to report on, and a file in memory with what is declared.
final class PassProcess {
  /// Becomes readable when the process has ended.
  let pidfd: Descriptor
  /// Where its messages come in.
  let channel: Descriptor
  private let pid: pid_t
  private(set) var problems: [PassProblem] = []
  private(set) var processes: [WatchedProcess] = []
  private(set) var end: PassEnd?

  /// - Parameters:
  ///   - options: Words for every pass besides those of the job.
  ///   - files: What is declared; it is read from its start.
  init(_ job: PassJob, options: [String], files: Descriptor) throws(SystemError) {
    let (mine, theirs) = try UnixSocket.pair()
    let arguments = (["portmap"] + job.words + options).map { strdup($0) } + [nil]
    defer { for text in arguments { free(text) } }
    // The manager is the watcher's own to talk to.
    let environment = Environment.entries(without: [ServiceManager.variable]) + [nil]
    try syscall("lseek") { lseek(files.raw, 0, SEEK_SET) }
    let descriptors = [0, 1, 2, theirs.raw, files.raw]
    pid = try OwnProgram.start(arguments, environment: environment, descriptors: descriptors)
    channel = mine
    let raw = clinux_pidfd_open(pid)
    guard raw >= 0 else {
      let code = errno
      kill(pid, SIGKILL)
      _ = clinux_wait(pid, nil)
      throw SystemError(call: "pidfd_open", errno: code)
    }
    pidfd = Descriptor(owning: raw)
  }

  /// Takes in what has come; false where nothing more will.
  func receive() -> Bool {
    while true {
      do {
        let (bytes, _) = try UnixSocket.receive(from: channel, by: .after(milliseconds: 0))
        if bytes.isEmpty { return false }
        switch PassMessage(bytes) {
        case .problem(let problem)?: problems.append(problem)
        case .processes(let more)?: processes += more
        case .end(let end)?: self.end = end
        case nil: continue
        }
      } catch {
        return (error as? SystemError)?.errno == ETIMEDOUT
      }
    }
  }

  /// Asks it to undo what it has begun, and end.
  func interrupt() { _ = clinux_pidfd_send_signal(pidfd.raw, SIGTERM) }

  /// Takes in the rest when it has ended, and how it has; nil where it has said so itself.
  func finish() -> PassProblem? {
    _ = receive()
    var status: Int32 = 0
    _ = clinux_wait(pid, &status)
    guard end == nil else { return nil }
    let signal = status & 0x7F
    let how = signal == 0 ? "with status \(status >> 8 & 0xFF)" : "by signal \(signal)"
    return PassProblem(message: "cannot look after the mappings: that ended \(how)", hint: nil)
  }
}
