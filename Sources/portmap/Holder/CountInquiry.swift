import CLinux
import Glibc

/// Asks background processes what their proxies have carried: all of them at once, so that one that is stopped holds
/// nobody up but to the deadline.
///
/// Theory of operation. Each process is a question. So many at a time are under way, each with a socket that does not
/// wait:
///
///     waiting    --connected, asked--> asked
///     waiting    --the queue of the process is full--> waiting, for some milliseconds
///     waiting    --nobody listens--> answered (silent)
///     asked      --counted, more to come--> asked
///     asked      --counted, the last--> answered
///     asked      --refused--> answered (it does not count)
///     asked      --anything else, or the end--> answered (silent)
///
/// At the deadline whoever has not answered is missing among the answers.
final class CountInquiry {
  /// What one process says.
  enum Answer: Equatable {
    /// By the id of the mapping; one that nobody has used is not among them.
    case counts([String: ProxyCount])
    /// It is of a version that does not count.
    case notCounted
    /// It is gone, or stopped.
    case silent
  }

  /// So many fit into the 1,024 descriptors that a process may have without asking.
  private static let atOnce = 512
  private static let retryMilliseconds = 10

  private let folder: Descriptor
  private let loop: EventLoop
  private let buffer = UnsafeMutableRawBufferPointer.allocate(
    byteCount: UnixSocket.longestMessage,
    alignment: 1
  )
  private let total: Int
  private var waiting: ArraySlice<String>
  private var asked: [String: Question] = [:]
  private var answers: [String: Answer] = [:]

  /// Asks, and waits for all answers or for so many milliseconds.
  ///
  /// - Parameter ids: Those of the processes whose control sockets are in the folder, each once.
  /// - Throws: Interruption.
  static func answers(from ids: [String], in folder: Descriptor, within milliseconds: Int) throws -> [String:
    Answer]
  {
    guard !ids.isEmpty else { return [:] }
    return try CountInquiry(ids, folder).run(within: milliseconds)
  }

  private init(_ ids: [String], _ folder: Descriptor) throws(SystemError) {
    self.folder = folder
    total = ids.count
    waiting = ids[...]
    loop = try EventLoop()
  }

  deinit { buffer.deallocate() }

  private func run(within milliseconds: Int) throws -> [String: Answer] {
    var interruption: (any Error)?
    loop.onTurnEnd { [unowned self] in
      do { try Interruption.checkWhileWaiting() } catch { interruption = error }
      askMore()
      if interruption != nil || isComplete { loop.stop() }
    }
    loop.after(milliseconds: milliseconds) { [unowned self] in loop.stop() }
    askMore()
    if !isComplete { try loop.run() }
    if let interruption { throw interruption }
    return answers
  }

  private var isComplete: Bool { answers.count == total }

  private func askMore() {
    while asked.count < Self.atOnce, let id = waiting.popFirst() {
      do throws(SystemError) {
        guard let socket = try UnixSocket.connectAtOnce(to: ControlSocket.name(id), in: folder) else {
          askLater(id)
          continue
        }
        try ask(id, socket)
      } catch {
        answers[id] = .silent
      }
    }
  }

  /// The queue is full of callers who will be answered in no time, if that process runs.
  private func askLater(_ id: String) {
    loop.after(milliseconds: Self.retryMilliseconds) { [unowned self] in waiting.append(id) }
  }

  private func ask(_ id: String, _ socket: Descriptor) throws(SystemError) {
    let message = HolderMessage.count.bytes
    try syscall("send") { send(socket.raw, message, message.count, Int32(MSG_NOSIGNAL)) }
    let question = Question(id, socket, self)
    question.registration = try loop.add(socket, events: Readiness.input, handler: question)
    asked[id] = question
  }

  /// A process that has been asked.
  private final class Question: EventHandler {
    let id: String
    let socket: Descriptor
    var registration: Registration?
    private var counts: [String: ProxyCount] = [:]
    private unowned let inquiry: CountInquiry

    init(_ id: String, _ socket: Descriptor, _ inquiry: CountInquiry) {
      self.id = id
      self.socket = socket
      self.inquiry = inquiry
    }

    func handle(events: UInt32, tag: UInt32) {
      while let message = inquiry.receive(from: socket) {
        switch message {
        case .counted(let remaining, let part)?:
          for entry in part { counts[entry.id] = entry.count }
          if remaining == 0 { return inquiry.end(self, .counts(counts)) }
        case .refused(nil)?, .refused(Refusal.notUnderstood?)?: return inquiry.end(self, .notCounted)
        default: return inquiry.end(self, .silent)
        }
      }
    }
  }

  /// The next message: the outer nil says that there is none now, the inner one that it makes no sense.
  private func receive(from socket: Descriptor) -> HolderMessage?? {
    switch attempt("recv", { recv(socket.raw, buffer.baseAddress, buffer.count, 0) }) {
    case .notNow: return nil
    case .failed: return .some(nil)
    case .done(let count): return .some(HolderMessage(Array(buffer[..<count])))
    }
  }

  private func end(_ question: Question, _ answer: Answer) {
    answers[question.id] = answer
    asked[question.id] = nil
    if let registration = question.registration { loop.remove(registration, closing: true) }
  }
}
