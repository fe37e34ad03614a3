import CLinux
import Foundation

/// A program that was started, and what it has written so far.
///
/// Not Foundation's `Process`, which takes a grandchild that keeps a pipe open for the program itself: the tests
/// have to tell the two apart.
final class ChildProcess {
  let command: String
  let pid: pid_t
  private let pidfd: Int32
  private var output: Pipe
  private var errors: Pipe
  private var status: Int32?

  private struct Pipe {
    var descriptor: Int32
    var bytes: [UInt8] = []
    var taken = 0
    var isOpen: Bool { descriptor >= 0 }

    mutating func read() {
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      let count = Foundation.read(descriptor, &buffer, buffer.count)
      if count > 0 { bytes += buffer.prefix(count) } else { end() }
    }

    mutating func end() {
      if isOpen { close(descriptor) }
      descriptor = -1
    }
  }

  struct CannotStart: Error, CustomStringConvertible {
    let description: String
  }

  /// Starts a program in a process group of its own, standard input empty, with nothing but the given environment.
  init(_ arguments: [String], environment: [String: String] = [:]) throws {
    command = arguments.joined(separator: " ")
    let path = try Tools.path(arguments[0])
    var variables = ["PATH": Tools.searchPath, "LC_ALL": "C"]
    variables.merge(environment) { $1 }
    var out: [Int32] = [-1, -1]
    var err: [Int32] = [-1, -1]
    guard clinux_pipe2(&out, O_CLOEXEC) == 0, clinux_pipe2(&err, O_CLOEXEC) == 0 else {
      throw CannotStart(description: "pipe: \(String(cString: strerror(errno)))")
    }
    defer {
      close(out[1])
      close(err[1])
    }
    output = Pipe(descriptor: out[0])
    errors = Pipe(descriptor: err[0])
    pid = try Self.spawn(path, arguments, variables, output: out[1], errors: err[1])
    pidfd = clinux_pidfd_open(pid)
  }

  deinit {
    if status == nil { kill() }
    output.end()
    errors.end()
    if pidfd >= 0 { close(pidfd) }
  }

  private static func spawn(
    _ path: String,
    _ arguments: [String],
    _ environment: [String: String],
    output: Int32,
    errors: Int32
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // A group of its own, so that a time limit ends the children too; signals as a shell would leave them.
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigfillset(&signals)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
    posix_spawnattr_setflags(&attributes, Int16(flags))
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { (argv + envp).forEach { free($0) } }
    var pid = pid_t()
    let result = posix_spawn(&pid, path, &actions, &attributes, &argv, &envp)
    guard result == 0 else { throw CannotStart(description: "\(path): \(String(cString: strerror(result)))") }
    return pid
  }

  /// Waits for the end, killing the whole group when it does not come in time.
  func wait(timeout: Double = 20) -> Outcome {
    let ended = pump(until: Date() + timeout) { status != nil }
    if !ended { kill() }
    // What somebody else keeps open now, a caller such as `$(…)` would go on waiting for.
    _ = pump(until: Date() + 0.5) { !output.isOpen && !errors.isOpen }
    return Outcome(
      command: command,
      status: ended ? status ?? -1 : -1,
      stdout: text(output.bytes),
      stderr: text(errors.bytes),
      keptOpen: output.isOpen || errors.isOpen
    )
  }

  /// The next line of stdout, nil when none comes in time.
  func line(timeout: Double = 5) -> String? {
    _ = pump(until: Date() + timeout) { nextLineEnd != nil || !output.isOpen }
    guard let end = nextLineEnd else { return nil }
    defer { output.taken = end + 1 }
    return text(output.bytes[output.taken..<end])
  }

  /// Waits until stderr has a text; false when it does not come in time.
  func complains(of text: String, timeout: Double = 10) -> Bool {
    pump(until: Date() + timeout) { self.text(errors.bytes).contains(text) || !errors.isOpen }
      && self.text(errors.bytes).contains(text)
  }

  var isRunning: Bool { !pump(until: Date() + 0.01) { status != nil } }

  func signal(_ number: Int32) {
    if status == nil { Foundation.kill(pid, number) }
  }

  /// Ends the program and its children at once.
  func kill() {
    guard status == nil else { return }
    Foundation.kill(-pid, SIGKILL)
    Foundation.kill(pid, SIGKILL)
    reap(0)
  }

  private var nextLineEnd: Int? {
    output.bytes[output.taken...].firstIndex(of: UInt8(ascii: "\n"))
  }

  /// Reads what comes until a condition holds; false when the time is up.
  private func pump(until deadline: Date, _ condition: () -> Bool) -> Bool {
    while !condition() {
      let left = deadline.timeIntervalSinceNow
      if left <= 0 { return false }
      var polled = [output.descriptor, errors.descriptor, status == nil ? pidfd : -1]
        .map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      _ = poll(&polled, 3, Int32(left * 1000) + 1)
      if polled[0].revents != 0 { output.read() }
      if polled[1].revents != 0 { errors.read() }
      if polled[2].revents != 0 { reap(WNOHANG) }
    }
    return true
  }

  private func reap(_ options: Int32) {
    var raw: Int32 = 0
    guard waitpid(pid, &raw, options) == pid else { return }
    let signal = raw & 0x7f
    status = signal == 0 ? (raw >> 8) & 0xff : 128 + signal
  }

  private func text(_ bytes: some Sequence<UInt8>) -> String {
    String(decoding: Array(bytes), as: UTF8.self)
  }
}
