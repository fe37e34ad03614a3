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
      try process.run()
    } catch {
      let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError
      throw ProgramError.notStarted(name, reason: (cause ?? error as NSError).localizedDescription)
    }
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
