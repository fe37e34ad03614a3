import CLinux
import Dispatch
import Foundation

/// A program that ProgramRunner has started, until it has ended.
final class RunningProgram {
  private let name: String
  private let process: Process
  private let ended: DispatchSemaphore
  private let stdout: Descriptor
  private let stderr: Descriptor
  /// The file that it reads its text from, which is there for as long as this is.
  private let text: Descriptor?

  /// Starts a program; Process hands over no descriptor but the standard ones and does not search the path.
  init(
    _ name: String,
    path: String,
    _ arguments: [String],
    _ environment: [String: String],
    input: Descriptor?,
    text: Descriptor?
  ) throws {
    self.name = name
    self.text = text
    stdout = try Descriptor("memfd_create") { clinux_memory_file("stdout") }
    stderr = try Descriptor("memfd_create") { clinux_memory_file("stderr") }
    process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = environment
    process.standardInput =
      input.map { FileHandle(fileDescriptor: $0.raw, closeOnDealloc: false) }
      ?? FileHandle.nullDevice
    process.standardOutput = FileHandle(fileDescriptor: stdout.raw, closeOnDealloc: false)
    process.standardError = FileHandle(fileDescriptor: stderr.raw, closeOnDealloc: false)
    let ended = DispatchSemaphore(value: 0)
    self.ended = ended
    process.terminationHandler = { _ in ended.signal() }
    do {
      try Self.silently { try process.run() }
    } catch {
      let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
      throw ProgramError.notStarted(name, reason: (cause ?? error as NSError).localizedDescription)
    }
  }

  /// Keeps this process's stderr to itself: where `lo` is down, Foundation complains of it there and does without.
  private static func silently(_ body: () throws -> Void) throws {
    let own = try Descriptor("fcntl") { fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) }
    let nowhere = try Descriptor("open") { open("/dev/null", O_WRONLY | O_CLOEXEC) }
    defer { dup2(own.raw, STDERR_FILENO) }
    try syscall("dup2") { dup2(nowhere.raw, STDERR_FILENO) }
    try body()
  }

  /// Waits until the program has ended.
  ///
  /// - Throws: ProgramError.timedOut when it had to be killed.
  func finish() throws -> ProgramResult {
    let status = try wait()
    return ProgramResult(status: status, stdout: try rewound(stdout), stderr: try rewound(stderr))
  }

  /// Waits for the program itself: Process alone would wait for all that it has started, too.
  private func wait() throws -> Int32 {
    let pid = process.processIdentifier
    let raw = clinux_pidfd_open(pid)
    if raw >= 0, !exits(Descriptor(owning: raw)) {
      // Process made it the leader of a group, so that its children go with it.
      kill(-pid, SIGKILL)
      throw ProgramError.timedOut(name, seconds: ProgramRunner.secondsAllowed)
    }
    if let status = Self.status(of: pid) { return status }
    ended.wait()
    return process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
  }

  /// How a process ended, from the kernel: Process learns it later, by way of a thread and of sockets on loopback,
  /// which may be down; and much later, when something that the program started lives on. Nil where it was quicker,
  /// and has had the kernel forget it.
  private static func status(of pid: Int32) -> Int32? {
    var information = siginfo_t()
    while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0 {
      if errno != EINTR { return nil }
    }
    let status = information._sifields._sigchld.si_status
    return information.si_code == Int32(CLD_EXITED) ? status : 128 + status
  }

  /// Whether the process ends in the time that a program is given.
  private func exits(_ pidfd: Descriptor) -> Bool {
    let deadline = DispatchTime.now() + .seconds(ProgramRunner.secondsAllowed)
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
