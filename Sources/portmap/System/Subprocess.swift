import CLinux
import Dispatch
import Foundation

/// A program that was run to its end.
struct ProgramResult {
  /// Its exit status, or 128 and the signal that ended it.
  let status: Int32
  let stdout: [UInt8]
  let stderr: [UInt8]

  var text: String { String(decoding: stdout, as: UTF8.self) }
}

/// A program that could not be run, or did not do what it was run for.
enum ProgramError: Error {
  case notFound(String)
  case notStarted(String, reason: String)
  /// It ran for longer than the limit and was killed.
  case timedOut(String, seconds: Int)
  case failed(String, status: Int32, stderr: String)
}

/// Runs the programs that portmap drives, each to its end, through Foundation's Process.
///
/// Their output goes to files in memory, not through pipes: they may print megabytes, and something that they leave
/// running cannot keep the caller waiting.
final class ProgramRunner {
  /// Each program gets this long before it is killed.
  static let secondsAllowed = 10

  private let environment: [String: String]
  /// Called with each command before it runs.
  private let echo: (_ command: String) -> Void

  init(environment: [String: String], echo: @escaping (_ command: String) -> Void = { _ in }) {
    self.environment = environment.merging(["LC_ALL": "C"]) { $1 }
    self.echo = echo
  }

  /// Whether a program of this name is on the path.
  func has(_ program: String) -> Bool { path(of: program) != nil }

  /// Where a program of this name is found; nil where it is not.
  func path(of program: String) -> String? { Programs.find(program, environment) }

  /// Runs a program that must exit with 0.
  ///
  /// - Parameter input: Its standard input, from where its offset stands; /dev/null without one.
  /// - Throws: ProgramError.
  @discardableResult
  func run(_ program: String, _ arguments: [String], input: Descriptor? = nil) throws -> ProgramResult {
    try checked(program, start(program, arguments, shown: arguments, text: nil, input: input))
  }

  private func checked(_ program: String, _ result: ProgramResult) throws -> ProgramResult {
    guard result.status == 0 else {
      let words = String(decoding: result.stderr.prefix(4096), as: UTF8.self)
      throw ProgramError.failed(program, status: result.status, stderr: words)
    }
    return result
  }

  /// The same for a program that takes the name of a file as its last argument: one in memory that holds `text`.
  @discardableResult
  func run(_ program: String, _ arguments: [String], text: String, input: Descriptor?) throws -> ProgramResult
  {
    let result = try run(unchecked: program, arguments, text: text, input: input)
    return try checked(program, result)
  }

  func run(
    unchecked program: String,
    _ arguments: [String],
    text: String,
    input: Descriptor?
  ) throws -> ProgramResult {
    let file = try Descriptor("memfd_create") { clinux_memory_file("text") }
    try Files.write(Array(text.utf8), to: file)
    // Process hands over no descriptor but the standard ones; the program opens this one by way of its parent's.
    let path = "/proc/\(getpid())/fd/\(file.raw)"
    return try start(program, arguments + [path], shown: arguments, text: text, input: input)
  }

  private func start(
    _ program: String,
    _ arguments: [String],
    shown: [String],
    text: String?,
    input: Descriptor?
  ) throws -> ProgramResult {
    guard let path = path(of: program) else { throw ProgramError.notFound(program) }
    echo(Self.shown(program, shown, text))
    let stdout = try Descriptor("memfd_create") { clinux_memory_file("stdout") }
    let stderr = try Descriptor("memfd_create") { clinux_memory_file("stderr") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = environment
    process.standardInput =
      input.map { FileHandle(fileDescriptor: $0.raw, closeOnDealloc: false) }
      ?? FileHandle.nullDevice
    process.standardOutput = FileHandle(fileDescriptor: stdout.raw, closeOnDealloc: false)
    process.standardError = FileHandle(fileDescriptor: stderr.raw, closeOnDealloc: false)
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    do {
      try process.run()
    } catch {
      throw ProgramError.notStarted(program, reason: error.localizedDescription)
    }
    let status = try wait(for: process, program, ended)
    return ProgramResult(status: status, stdout: try rewound(stdout), stderr: try rewound(stderr))
  }

  /// A command as a person could paste it into a shell, the text that it reads included.
  static func shown(_ program: String, _ arguments: [String], _ text: String?) -> String {
    let command = ([program] + arguments).joined(separator: " ")
    return text.map { "\(command) <<'EOF'\n\($0)EOF" } ?? command
  }

  /// Waits for the program itself: Process alone would wait for all that it has started, too.
  private func wait(for process: Process, _ program: String, _ ended: DispatchSemaphore) throws -> Int32 {
    let pid = process.processIdentifier
    let pidfd = clinux_pidfd_open(pid)
    if pidfd >= 0 {
      let descriptor = Descriptor(owning: pidfd)
      guard exits(descriptor) else {
        // Process made it the leader of a group, so that its children go with it.
        kill(-pid, SIGKILL)
        throw ProgramError.timedOut(program, seconds: Self.secondsAllowed)
      }
    }
    // Process learns of the end a little later; or much later, when something that the program started lives on.
    if ended.wait(timeout: .now() + .milliseconds(500)) == .success {
      return process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
    }
    var information = siginfo_t()
    try syscall("waitid") { waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) }
    let status = information._sifields._sigchld.si_status
    return information.si_code == Int32(CLD_EXITED) ? status : 128 + status
  }

  /// Whether the process ends in the time that a program is given.
  private func exits(_ pidfd: Descriptor) -> Bool {
    let deadline = DispatchTime.now() + .seconds(Self.secondsAllowed)
    var request = pollfd(fd: pidfd.raw, events: Int16(POLLIN), revents: 0)
    while true {
      let now = DispatchTime.now()
      guard now < deadline else { return false }
      let left = Int32((deadline.uptimeNanoseconds - now.uptimeNanoseconds) / 1_000_000 + 1)
      if poll(&request, 1, left) > 0 { return true }
    }
  }

  private func rewound(_ file: Descriptor) throws(SystemError) -> [UInt8] {
    try syscall("lseek") { lseek(file.raw, 0, SEEK_SET) }
    return try Files.contents(of: file)
  }
}
