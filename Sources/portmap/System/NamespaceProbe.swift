import CLinux
import Glibc

/// Asks ports from inside another network namespace, by a child of this program that enters it.
///
/// The child is a process of one thread, as entering a user namespace takes one, and asks what comes by its socket until
/// that is closed. Questions and answers are lines: `tcp 10.0.0.2 80`, and an errno, 0 for an open port, -1 for none.
enum NamespaceProbe {
  /// The hidden command of the child, and the descriptors that it finds.
  static let command = "probe-inside"
  private static let channel: Int32 = 3
  private static let namespace: Int32 = 4
  /// As many as a message has room for.
  private static let atOnce = 256

  /// Asks ports from this network namespace, or from that of an open file.
  ///
  /// - Returns: The answers in the order of the questions.
  /// - Throws: SystemError where the namespace cannot be entered; Interruption.
  static func ask(_ questions: [PortQuestion], in file: Descriptor? = nil) throws -> [PortAnswer] {
    guard let file else { return try PortProbe.ask(questions) }
    let (mine, theirs) = try UnixSocket.pair()
    let child = try start(theirs, file)
    defer { end(child, mine) }
    var answers: [PortAnswer] = []
    for first in stride(from: 0, to: questions.count, by: atOnce) {
      let part = questions[first..<min(first + atOnce, questions.count)]
      let text = part.map { "\($0.transport.rawValue) \($0.address.ip) \($0.address.port)" }.joined(
        separator: "\n"
      )
      // Twice the time that the questions take.
      let deadline = Deadline.after(milliseconds: 2 * PortProbe.milliseconds)
      try UnixSocket.send(Array(text.utf8), to: mine, by: deadline)
      let lines = String(decoding: try UnixSocket.receive(from: mine, by: deadline).bytes, as: UTF8.self)
        .split(separator: "\n")
      if lines.count == 1, let errno = refusal(lines[0]) { throw SystemError(call: "setns", errno: errno) }
      guard lines.count == part.count else { throw SystemError(call: "setns", errno: EPROTO) }
      answers += lines.map { PortAnswer(line: $0) }
    }
    return answers
  }

  /// Has the child end, and waits for that.
  private static func end(_ pid: pid_t, _ socket: Descriptor) {
    shutdown(socket.raw, Int32(SHUT_RDWR))
    var status: Int32 = 0
    _ = clinux_wait(pid, &status)
  }

  private static func start(_ channel: Descriptor, _ file: Descriptor) throws(SystemError) -> pid_t {
    let null = try Descriptor("open", about: "/dev/null") { open("/dev/null", O_RDWR | O_CLOEXEC) }
    let words = ["portmap", command]
    let arguments = words.map { strdup($0) } + [nil]
    let environment: [UnsafeMutablePointer<CChar>?] = [nil]
    defer { for text in arguments { free(text) } }
    let descriptors = [null.raw, null.raw, null.raw, channel.raw, file.raw]
    return try OwnProgram.start(arguments, environment: environment, descriptors: descriptors)
  }

  // MARK: the child

  /// Enters the namespace and answers until nobody asks any more; returns the exit status.
  static func stage() -> Int32 {
    let socket = Descriptor(owning: channel)
    var refusal: Int32?
    do throws(SystemError) {
      _ = try OpenedNamespace.enter(Descriptor(owning: namespace))
    } catch {
      refusal = error.errno
    }
    do {
      while true {
        let message = try UnixSocket.receive(from: socket, by: .never).bytes
        if message.isEmpty { return 0 }
        let lines: [String]
        if let refusal {
          lines = ["refused \(refusal)"]
        } else {
          lines = try PortProbe.ask(questions(message)).map(\.line)
        }
        try UnixSocket.send(Array(lines.joined(separator: "\n").utf8), to: socket, by: .never)
      }
    } catch {
      return 1
    }
  }

  static func questions(_ message: [UInt8]) -> [PortQuestion] {
    String(decoding: message, as: UTF8.self).split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard words.count == 3, let transport = Transport(rawValue: String(words[0])),
        let ip = IPAddress(words[1]),
        let port = PortRange.port(words[2])
      else { return nil }
      return PortQuestion(transport: transport, address: SocketAddress(ip, port: port))
    }
  }

  private static func refusal(_ line: Substring) -> Int32? {
    line.hasPrefix("refused ") ? Int32(line.dropFirst("refused ".count)) : nil
  }
}

extension PortAnswer {
  fileprivate init(line: Substring) {
    switch Int32(line) {
    case 0: self = .open
    case let errno? where errno > 0: self = .failed(errno)
    default: self = .silent
    }
  }

  fileprivate var line: String {
    switch self {
    case .open: "0"
    case .silent: "-1"
    case .failed(let errno): "\(errno)"
    }
  }
}
