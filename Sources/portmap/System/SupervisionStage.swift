import CLinux
import Glibc

/// What portmap says to the stage of a command.
enum StageWord: Equatable {
  /// Sockets for the command come with this word.
  case sockets
  /// Everything is there: become the command, with this limit of descriptors.
  case go(DescriptorLimit)

  var bytes: [UInt8] {
    switch self {
    case .sockets: [0]
    case .go(let limit): [1] + [limit.soft, limit.hard].flatMap { withUnsafeBytes(of: $0, Array.init) }
    }
  }

  init?(_ bytes: [UInt8]) {
    switch (bytes.first, bytes.count) {
    case (0, 1): self = .sockets
    case (1, 17):
      let numbers = [1, 9].map { offset in
        bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
      }
      self = .go(DescriptorLimit(soft: numbers[0], hard: numbers[1]))
    default: return nil
    }
  }
}

/// What the stage of a command says when it cannot become the command.
struct StageAnswer: Equatable {
  enum Step: UInt8 {
    case setUp, exec
  }

  let step: Step
  let errno: Int32

  init(_ step: Step, errno: Int32) {
    self.step = step
    self.errno = errno
  }

  var bytes: [UInt8] { [step.rawValue] + withUnsafeBytes(of: errno, Array.init) }

  init?(_ bytes: [UInt8]) {
    guard bytes.count == 5, let step = Step(rawValue: bytes[0]) else { return nil }
    self.init(step, errno: bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 1, as: Int32.self) })
  }
}

extension Supervision {
  /// The stage: `portmap exec COMMAND ARGUMENT…`. Returns only when there was nothing to run.
  static func stage() -> Int32 {
    let words = Array(CommandLine.rawWords.dropFirst(2))
    guard let name = words.first ?? nil else { return 2 }
    var channel = Descriptor(owning: firstSocket)
    let answer: StageAnswer
    do {
      guard let (sockets, limit) = try receive(from: channel) else { return 125 }
      // The numbers that they came with are closed by exec, and not before: others may be in their places by then.
      answer = try withExtendedLifetime(sockets) {
        try place(sockets, movingAway: &channel)
        limit.set()
        if getenv("LISTEN_FDS") != nil { setenv("LISTEN_PID", "\(getpid())", 1) }
        execvp(name, words + [nil])
        return StageAnswer(.exec, errno: errno)
      }
    } catch {
      answer = StageAnswer(.setUp, errno: (error as? SystemError)?.errno ?? EINVAL)
    }
    try? UnixSocket.send(answer.bytes, to: channel, by: .never)
    return answer.step == .setUp ? 125 : answer.errno == ENOENT ? 127 : 126
  }

  /// Takes in sockets until the word to go; nil when portmap has gone without it. There is no deadline: portmap may be
  /// stopped, or wait for a lock.
  private static func receive(from channel: Descriptor) throws -> ([Descriptor], DescriptorLimit)? {
    var sockets: [Descriptor] = []
    while true {
      let (bytes, descriptors) = try UnixSocket.receive(from: channel, by: .never)
      sockets += descriptors
      switch StageWord(bytes) {
      case .sockets?: continue
      case .go(let limit)?: return (sockets, limit)
      case nil: return nil
      }
    }
  }

  /// Puts the sockets from descriptor 3 on, blocking as programs expect them, and open across exec.
  ///
  /// The channel has number 3, so that they came to have those behind it, one after the other. Each moves one down, or
  /// further: nothing is in its way, and no more descriptors are needed than there are.
  private static func place(_ sockets: [Descriptor], movingAway channel: inout Descriptor) throws(SystemError)
  {
    let (channelRaw, count) = (channel.raw, Int32(sockets.count))
    channel = try Descriptor("fcntl") { fcntl(channelRaw, F_DUPFD_CLOEXEC, firstSocket + count) }
    for (number, socket) in zip(firstSocket..., sockets) {
      guard socket.raw > number else { throw SystemError(call: "dup2", errno: EINVAL) }
      try syscall("fcntl") { fcntl(socket.raw, F_SETFL, fcntl(socket.raw, F_GETFL) & ~O_NONBLOCK) }
      try syscall("dup2") { dup2(socket.raw, number) }
    }
  }
}

extension CommandLine {
  /// The words of the command line as they are in memory, byte for byte: an argument need not be UTF-8.
  static var rawWords: [UnsafeMutablePointer<CChar>?] {
    Array(UnsafeBufferPointer(start: unsafeArgv, count: Int(argc)))
  }
}

/// The variables of this process, byte for byte: they need not be UTF-8.
enum Environment {
  /// The entries `NAME=VALUE` but those of some names. They stay this process's own.
  static func entries(without names: some Sequence<String>) -> [UnsafeMutablePointer<CChar>?] {
    var entries: [UnsafeMutablePointer<CChar>?] = []
    guard var next = clinux_environment() else { return [] }
    while let entry = next.pointee {
      if !names.contains(where: { strncmp(entry, "\($0)=", $0.utf8.count + 1) == 0 }) {
        entries.append(entry)
      }
      next += 1
    }
    return entries
  }
}
