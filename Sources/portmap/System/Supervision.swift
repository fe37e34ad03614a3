import CLinux
import Glibc

/// A command that could not be run: its name and why.
struct CommandError: Error {
  let command: String
  let errno: Int32
}

/// A command that runs under portmap's eyes: in its process group and on its terminal, with sockets handed to it.
///
/// Theory of operation. portmap starts itself once more, as a stage that waits on a socket pair. When all is ready it
/// is sent the command's sockets and the word to go; it puts them from descriptor 3 on, writes its own process number
/// into the environment (sd_listen_fds(3) wants LISTEN_PID to be the command's own) and becomes the command. The pair
/// closes with that; if it cannot, it sends the error instead. A portmap that dies before the word takes the stage
/// along.
final class Supervision {
  /// The hidden command of the stage, and the descriptor that it finds.
  static let command = "exec"
  private static let firstSocket: Int32 = 3
  private static let socketsPerMessage = UnixSocket.descriptorsPerMessage

  let process: ProcessIdentity
  private let name: String
  private let channel: Descriptor

  /// Starts the stage for a command.
  ///
  /// - Parameter environment: The command's; LISTEN_PID is added where LISTEN_FDS is there.
  init(_ words: [String], environment: [String: String]) throws {
    let (mine, theirs) = try UnixSocket.pair()
    let arguments = (["portmap", Self.command] + words).map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var pid: pid_t = 0
    let error = clinux_spawn("/proc/self/exe", arguments, variables, [0, 1, 2, theirs.raw], 4, &pid)
    guard error == 0 else { throw SystemError(call: "posix_spawn", errno: error, subject: words.first) }
    guard let process = ProcessIdentity(pid: pid) else {
      throw CommandError(command: words.first ?? "", errno: ESRCH)
    }
    self.process = process
    name = words.first ?? ""
    channel = mine
  }

  /// Lets the command begin with these sockets, and passes signals on to it until it ends.
  ///
  /// - Returns: Its exit status, 128 and the signal where one ended it.
  /// - Throws: CommandError where it could not be run.
  func run(with sockets: [Descriptor]) throws -> Int32 {
    var ends: [Int32] = [-1, -1]
    try syscall("pipe2") { clinux_pipe2(&ends, O_CLOEXEC | O_NONBLOCK) }
    let (signals, writer) = (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
    try syscall("sigaction") { clinux_forward_signals(writer.raw) }
    if clinux_caught_signal() != 0 { throw Interruption(signal: clinux_caught_signal()) }
    for start in stride(from: 0, to: sockets.count, by: Self.socketsPerMessage) {
      let part = Array(sockets[start..<min(start + Self.socketsPerMessage, sockets.count)])
      try UnixSocket.send([0], part, to: channel)
    }
    try UnixSocket.send([1], to: channel)
    let answer = try UnixSocket.receive(from: channel).bytes
    if answer.count == 4 {
      var status: Int32 = 0
      _ = clinux_wait(process.pid, &status)
      throw CommandError(command: name, errno: answer.withUnsafeBytes { $0.loadUnaligned(as: Int32.self) })
    }
    return try withExtendedLifetime(writer) { try wait(signals) }
  }

  private func wait(_ signals: Descriptor) throws -> Int32 {
    let pidfd = try Descriptor("pidfd_open") { clinux_pidfd_open(process.pid) }
    var requests = [signals, pidfd].map { pollfd(fd: $0.raw, events: Int16(POLLIN), revents: 0) }
    while requests[1].revents == 0 {
      try syscall("poll") { poll(&requests, 2, -1) }
      var numbers = [UInt8](repeating: 0, count: 64)
      while let count = try nonblocking("read", { read(signals.raw, &numbers, numbers.count) }), count > 0 {
        for number in numbers[..<count] { _ = clinux_pidfd_send_signal(pidfd.raw, Int32(number)) }
      }
    }
    var status: Int32 = 0
    try syscall("waitpid") { clinux_wait(process.pid, &status) }
    let signal = status & 0x7F
    return signal == 0 ? status >> 8 & 0xFF : 128 + signal
  }

  /// The stage: `portmap exec COMMAND ARGUMENT…`. Returns only when there was nothing to run.
  static func stage(_ words: [String]) -> Int32 {
    let channel = Descriptor(owning: fcntl(firstSocket, F_DUPFD_CLOEXEC, 1000))
    close(firstSocket)
    do {
      var sockets: [Descriptor] = []
      while true {
        let (bytes, descriptors) = try UnixSocket.receive(from: channel)
        guard let word = bytes.first else { return 125 }
        sockets += descriptors
        if word == 1 { break }
      }
      place(&sockets)
    } catch {
      return 125
    }
    if getenv("LISTEN_FDS") != nil { setenv("LISTEN_PID", "\(getpid())", 1) }
    let arguments = words.map { strdup($0) } + [nil]
    execvp(words.first ?? "", arguments)
    var code = errno
    _ = withUnsafeBytes(of: &code) { try? UnixSocket.send(Array($0), to: channel) }
    return code == ENOENT ? 127 : 126
  }

  /// Puts the sockets from descriptor 3 on, blocking as programs expect them, and open across exec.
  private static func place(_ sockets: inout [Descriptor]) {
    let count = Int32(sockets.count)
    let moved = sockets.map { fcntl($0.raw, F_DUPFD_CLOEXEC, firstSocket + count) }
    // Closed before their numbers are filled anew.
    sockets = []
    for (index, raw) in moved.enumerated() {
      _ = fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) & ~O_NONBLOCK)
      dup2(raw, firstSocket + Int32(index))
      close(raw)
    }
  }
}
