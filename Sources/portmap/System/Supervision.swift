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
/// is sent the command's sockets and the word to go; it puts them from descriptor 3 on, sets the limit of descriptors to
/// what portmap's caller had, writes its own process number into the environment (sd_listen_fds(3) wants LISTEN_PID to
/// be the command's own) and becomes the command. The pair closes with that; if it cannot, it sends the error instead. A
/// portmap that dies before the word takes the stage along.
final class Supervision {
  /// The hidden command of the stage, and the descriptor that it finds.
  static let command = "exec"
  static let firstSocket: Int32 = 3
  private static let socketsPerMessage = UnixSocket.descriptorsPerMessage
  /// A stage has next to nothing to do, but the program may lie on a slow disk.
  private static let secondsToStart = 30

  let process: ProcessIdentity
  private let name: String
  private let channel: Descriptor
  private let pidfd: Descriptor

  /// Starts the stage for a command, whose words are the last ones of this process's own command line and go to it byte
  /// for byte, as does the environment.
  ///
  /// - Parameters:
  ///   - words: The command; its name is for messages, its length counts.
  ///   - variables: What its environment has besides, or instead. LISTEN_PID is added where LISTEN_FDS is there.
  init(_ words: [String], variables: [String: String]) throws {
    name = words.first ?? ""
    let (mine, theirs) = try UnixSocket.pair()
    let prefix = [strdup("portmap"), strdup(Self.command)]
    let arguments = prefix + CommandLine.rawWords.suffix(words.count) + [nil]
    let added = variables.map { strdup("\($0.key)=\($0.value)") }
    defer { for text in prefix + added { free(text) } }
    let environment = Environment.entries(without: Self.listenVariables + variables.keys) + added + [nil]
    let pid = try OwnProgram.start(
      arguments,
      environment: environment,
      descriptors: [0, 1, 2, theirs.raw],
      about: name
    )
    pidfd = try Descriptor("pidfd_open") { clinux_pidfd_open(pid) }
    self.pid = pid
    guard let process = ProcessIdentity(pidfd) else { throw CommandError(command: name, errno: ESRCH) }
    self.process = process
    channel = mine
  }

  /// The stage's number for the kernel, which /proc may call otherwise.
  private let pid: pid_t

  private static let listenVariables = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]

  /// Lets the command begin with these sockets, and passes signals on to it until it ends.
  ///
  /// - Returns: Its exit status, 128 and the signal where one ended it.
  /// - Throws: CommandError where it could not be run.
  func run(with sockets: [Descriptor]) throws -> Int32 {
    var ends: [Int32] = [-1, -1]
    try syscall("pipe2") { clinux_pipe2(&ends, O_CLOEXEC | O_NONBLOCK) }
    let (signals, writer) = (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
    try syscall("sigaction") { clinux_forward_signals(writer.raw) }
    try Interruption.check()
    return try withExtendedLifetime(writer) {
      try start(with: sockets, signals)
      return try wait(signals)
    }
  }

  /// Sends the stage what it waits for, and waits until it is the command.
  private func start(with sockets: [Descriptor], _ signals: Descriptor) throws {
    let deadline = Deadline.after(seconds: Self.secondsToStart)
    do {
      for start in stride(from: 0, to: sockets.count, by: Self.socketsPerMessage) {
        let part = Array(sockets[start..<min(start + Self.socketsPerMessage, sockets.count)])
        try send(StageWord.sockets.bytes, part, signals, by: deadline)
      }
      try send(StageWord.go(DescriptorLimit.ofCaller).bytes, [], signals, by: deadline)
      try waitForStage(POLLIN, signals, by: deadline)
      let answer = StageAnswer(try UnixSocket.receive(from: channel, by: deadline).bytes)
      guard let answer else { return }
      var status: Int32 = 0
      _ = clinux_wait(pid, &status)
      switch answer.step {
      case .exec: throw CommandError(command: name, errno: answer.errno)
      case .setUp: throw SystemError(call: "exec", errno: answer.errno, subject: "starting '\(name)'")
      }
    } catch let error as SystemError where error.errno == EPIPE || error.errno == ECONNRESET {
      // The stage has ended: how, it tells its parent as any process does.
    } catch let error as SystemError where error.errno == ETIMEDOUT {
      _ = clinux_pidfd_send_signal(pidfd.raw, SIGKILL)
      throw SystemError(call: "exec", errno: ETIMEDOUT, subject: "starting '\(name)'")
    }
  }

  private func send(
    _ bytes: [UInt8],
    _ sockets: [Descriptor],
    _ signals: Descriptor,
    by deadline: Deadline
  ) throws {
    try waitForStage(POLLOUT, signals, by: deadline)
    try UnixSocket.send(bytes, sockets, to: channel, by: deadline)
  }

  /// Waits for the stage. Signals that arrive meanwhile reach it even where it is stopped: it is not the command yet.
  private func waitForStage(_ events: Int32, _ signals: Descriptor, by deadline: Deadline) throws {
    var requests = [
      pollfd(fd: channel.raw, events: Int16(events), revents: 0),
      pollfd(fd: signals.raw, events: Int16(POLLIN), revents: 0),
    ]
    while requests[0].revents == 0 {
      guard try deadline.wait(for: &requests) else { throw SystemError(call: "poll", errno: ETIMEDOUT) }
      if try passOn(signals) { _ = clinux_pidfd_send_signal(pidfd.raw, SIGCONT) }
    }
  }

  /// Passes on what signals have arrived; false where none has.
  @discardableResult
  private func passOn(_ signals: Descriptor) throws -> Bool {
    var numbers = [UInt8](repeating: 0, count: 64)
    var some = false
    while let count = try nonblocking("read", { read(signals.raw, &numbers, numbers.count) }), count > 0 {
      for number in numbers[..<count] { _ = clinux_pidfd_send_signal(pidfd.raw, Int32(number)) }
      some = true
    }
    return some
  }

  private func wait(_ signals: Descriptor) throws -> Int32 {
    var requests = [signals, pidfd].map { pollfd(fd: $0.raw, events: Int16(POLLIN), revents: 0) }
    while requests[1].revents == 0 {
      try syscall("poll") { poll(&requests, 2, -1) }
      try passOn(signals)
    }
    var status: Int32 = 0
    try syscall("waitpid") { clinux_wait(pid, &status) }
    let signal = status & 0x7F
    return signal == 0 ? status >> 8 & 0xFF : 128 + signal
  }
}
