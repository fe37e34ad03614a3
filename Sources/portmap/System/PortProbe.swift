import CLinux
import Glibc

/// A port that is asked whether somebody is there.
struct PortQuestion: Hashable, Sendable {
  let transport: Transport
  let address: SocketAddress
  /// The address to ask from; nil for the one that the kernel takes.
  var source: IPAddress?
}

/// What became of a question.
enum PortAnswer: Equatable, Sendable {
  /// A connection was made.
  case open
  /// Nothing came back in time. That is as it should be of a udp port, which need not answer an empty datagram.
  case silent
  /// It was refused, or could not be sent, with an errno.
  case failed(Int32)
}

/// Asks ports, all at once: a connection is opened and closed, a udp port is sent an empty datagram.
///
/// Theory of operation. Each question is a socket that does not block. A connection has been made, or has failed, when
/// its socket becomes writable (connect(2), EINPROGRESS). A datagram is sent to a connected socket, which the kernel
/// tells of the ICMP error that comes back, if one does. What has not answered at its deadline is silent. No more than
/// so many sockets are open at a time; the next question begins when one ends.
struct PortProbe {
  /// The time that a question has.
  static let milliseconds = 2000
  /// An ICMP refusal comes as quickly as a packet goes there and back.
  static let datagramMilliseconds = 1000
  private static let atOnce = 2048

  private struct Pending {
    let index: Int
    let socket: Descriptor
    let deadline: Deadline
  }

  private let questions: [PortQuestion]
  private var answers: [PortAnswer]
  private var pending: [Pending] = []

  private init(_ questions: [PortQuestion]) {
    self.questions = questions
    answers = Array(repeating: .silent, count: questions.count)
  }

  /// Asks all of the questions.
  ///
  /// - Returns: The answers in their order.
  /// - Throws: Interruption.
  static func ask(_ questions: [PortQuestion]) throws -> [PortAnswer] {
    guard !questions.isEmpty else { return [] }
    try DescriptorLimit.makeRoom(for: min(questions.count, atOnce))
    var probe = PortProbe(questions)
    try probe.run()
    return probe.answers
  }

  private mutating func run() throws {
    var next = 0
    while next < questions.count || !pending.isEmpty {
      while next < questions.count, pending.count < Self.atOnce {
        begin(next)
        next += 1
      }
      if !pending.isEmpty { try wait() }
    }
  }

  private mutating func begin(_ index: Int) {
    let question = questions[index]
    do throws(SystemError) {
      let socket = try Descriptor.socket(question.transport, question.address.ip.family)
      if let source = question.source {
        try syscall("bind") { SocketAddress(source, port: 0).withSockaddr { bind(socket.raw, $0, $1) } }
      }
      let connected = question.address.withSockaddr { connect(socket.raw, $0, $1) } == 0
      let error = errno
      guard connected || error == EINPROGRESS else { throw SystemError(call: "connect", errno: error) }
      if !question.transport.isConnectionOriented {
        try syscall("send") { send(socket.raw, nil, 0, Int32(MSG_NOSIGNAL)) }
      } else if connected {
        answers[index] = .open
        return
      }
      let time = question.transport == .udp ? Self.datagramMilliseconds : Self.milliseconds
      pending.append(Pending(index: index, socket: socket, deadline: .after(milliseconds: time)))
    } catch {
      answers[index] = .failed(error.errno)
    }
  }

  /// Waits until something has come back, and takes note of it and of what is overdue.
  private mutating func wait() throws {
    var requests = pending.map { entry in
      let events = questions[entry.index].transport == .udp ? POLLIN : POLLOUT
      return pollfd(fd: entry.socket.raw, events: Int16(events), revents: 0)
    }
    _ = try Deadline.after(milliseconds: Deadline.slice).wait(for: &requests)
    let entries = zip(pending, requests)
    for (entry, request) in entries where request.revents != 0 { answers[entry.index] = answer(of: entry) }
    pending = entries.filter { $1.revents == 0 && !$0.deadline.hasPassed }.map { $0.0 }
  }

  private func answer(of entry: Pending) -> PortAnswer {
    let error = (try? entry.socket.option(SocketLevel.socket, SO_ERROR, into: Int32(0))) ?? 0
    if error != 0 { return error == ETIMEDOUT ? .silent : .failed(error) }
    return .open
  }
}
