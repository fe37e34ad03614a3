import CLinux
import Glibc

/// A background process that does not answer as it should.
struct HolderError: Error {
  enum Problem: Equatable {
    /// It is not there any more, and what it held is lost.
    case gone(with: String)
    /// It ended while it was being talked to.
    case ended
    /// It did not answer in time: it is stopped, or hangs.
    case silent
    /// It does not do that; the first version does not say why.
    case refused(Refusal?)
    /// It could not do something at its start.
    case failed(SystemError)
    case unexpected
  }

  let id: String
  let problem: Problem
}

extension HolderError.Problem: CustomStringConvertible {
  var description: String {
    switch self {
    case .gone(let name): "it is gone, and \(name) with it"
    case .ended: "it ended meanwhile"
    case .silent: "it does not answer"
    case .refused(let refusal): refusal?.description ?? "it refused"
    case .failed(let error): "it could not start: \(error)"
    case .unexpected: "it gave an answer that nobody asked for"
    }
  }
}

/// A command's end of the control socket of a background process.
///
/// Whatever waits for the process throws HolderError, or Interruption when a signal asks the command to end.
struct HolderClient {
  let id: String
  let socket: Descriptor
  private let patience: Patience

  /// How long the process may take for an answer.
  struct Patience {
    fileprivate let seconds: Int
    /// Is told, once an answer, what the command is waiting for.
    fileprivate var say: ((String) -> Void)?
    /// The process, where it is the command's own and new: it ends when it cannot be talked to.
    fileprivate var child: ProcessIdentity?

    /// For a process that is at work: an answer is a matter of milliseconds.
    static var ordinary: Patience { Patience(seconds: 5) }

    /// For a process that has just been started, by a machine that may be slow.
    static func start(of child: ProcessIdentity, _ say: @escaping (String) -> Void) -> Patience {
      Patience(seconds: 30, say: say, child: child)
    }
  }

  private static let secondsOfSilence = 2

  init(id: String, socket: Descriptor, patience: Patience) {
    self.id = id
    self.socket = socket
    self.patience = patience
  }

  /// Connects to a process that runs already; nil where none answers there any more.
  static func connect(to id: String, in folder: Descriptor) throws -> HolderClient? {
    let deadline = Deadline.after(seconds: Patience.ordinary.seconds)
    do {
      let socket = try UnixSocket.connect(to: ControlSocket.name(id), in: folder, by: deadline)
      return HolderClient(id: id, socket: socket, patience: .ordinary)
    } catch let error as SystemError where error.errno == ENOENT || error.errno == ECONNREFUSED {
      return nil
    } catch let error as SystemError where error.errno == ETIMEDOUT {
      throw HolderError(id: id, problem: .silent)
    }
  }

  /// Hands over holdings with their sockets, one a port.
  func hold(_ holdings: [(holding: Holding, sockets: [Descriptor])]) throws {
    var parts: [HolderMessage.Part] = []
    var descriptors: [Descriptor] = []
    func flush() throws {
      guard !parts.isEmpty else { return }
      try request(.hold(parts), descriptors)
      parts = []
      descriptors = []
    }
    for (holding, sockets) in holdings {
      var offset = 0
      while offset < sockets.count {
        let room = UnixSocket.descriptorsPerMessage - descriptors.count
        let count = min(room, sockets.count - offset)
        parts.append(.init(holding: holding, offset: UInt16(offset), count: UInt16(count)))
        descriptors += sockets[offset..<offset + count]
        offset += count
        if descriptors.count == UnixSocket.descriptorsPerMessage { try flush() }
      }
    }
    try flush()
  }

  /// Has the process enter a network namespace, before it is given anything to hold.
  func enter(_ namespace: OpenedNamespace) throws {
    do {
      try request(.enter(namespace.guest), [namespace.descriptor])
    } catch let error as HolderError {
      guard case .failed(let reason) = error.problem else { throw error }
      throw NamespaceError(namespace.guest.name, becauseOf: reason)
    }
  }

  func begin() throws { try request(.begin) }

  /// Copies of a holding's sockets; the process keeps its own until it is told to release them.
  func take(_ id: String) throws -> [Descriptor] {
    var sockets: [Descriptor] = []
    try exchange(.take(id: id)) { answer, descriptors in
      guard case .sockets(let remaining) = answer else { throw problem(answer) }
      sockets += descriptors
      return remaining == 0
    }
    return sockets
  }

  func release(_ ids: [String]) throws {
    for start in stride(from: 0, to: ids.count, by: HolderMessage.holdingsPerMessage) {
      let part = ids[start..<min(start + HolderMessage.holdingsPerMessage, ids.count)]
      try request(.release(ids: Array(part)))
    }
  }

  /// Everything that the process holds.
  func describe() throws -> [Holding] {
    var holdings: [Holding] = []
    try exchange(.describe) { answer, _ in
      guard case .described(let part) = answer else { throw problem(answer) }
      holdings += part
      return part.isEmpty
    }
    return holdings
  }

  /// The network namespace that the process has entered; nil where it has entered none.
  func entered() throws -> GuestNamespace? {
    var guest: GuestNamespace?
    try exchange(.askForEntered) { answer, _ in
      switch answer {
      case .entered(let told): guest = told
      case .refused: break
      default: throw problem(answer)
      }
      return true
    }
    return guest
  }

  /// The cookie of the network namespace that the process holds sockets of; nil where it is of a version that does not
  /// tell.
  func namespaceCookie() throws -> UInt64? {
    var cookie: UInt64?
    try exchange(.locate) { answer, _ in
      switch answer {
      case .located(let told): cookie = told
      case .refused: break
      default: throw problem(answer)
      }
      return true
    }
    return cookie
  }

  private func request(_ message: HolderMessage, _ descriptors: [Descriptor] = []) throws {
    try exchange(message, descriptors) { answer, _ in
      guard answer == .done else { throw problem(answer) }
      return true
    }
  }

  /// Sends a request and hands over its answers until `isLast` says that it was all.
  private func exchange(
    _ message: HolderMessage,
    _ descriptors: [Descriptor] = [],
    _ isLast: (_ answer: HolderMessage, _ descriptors: [Descriptor]) throws -> Bool
  ) throws {
    do {
      try UnixSocket.send(message.bytes, descriptors, to: socket, by: .after(seconds: patience.seconds))
      while true {
        let (bytes, sockets) = try receive()
        guard !bytes.isEmpty else { throw HolderError(id: id, problem: .ended) }
        guard let answer = HolderMessage(bytes) else { throw HolderError(id: id, problem: .unexpected) }
        if try isLast(answer, sockets) { return }
      }
    } catch {
      // A child that cannot be talked to has promised nothing to anybody.
      patience.child?.kill()
      switch (error as? SystemError)?.errno {
      case ETIMEDOUT: throw HolderError(id: id, problem: .silent)
      case EPIPE, ECONNRESET: throw HolderError(id: id, problem: .ended)
      default: throw error
      }
    }
  }

  private func receive() throws -> (bytes: [UInt8], descriptors: [Descriptor]) {
    var left = patience.seconds
    if let say = patience.say {
      let deadline = Deadline.after(seconds: Self.secondsOfSilence)
      if try !deadline.wait(for: POLLIN, of: socket) {
        say("waiting for the background process \(id) to start")
        left -= Self.secondsOfSilence
      }
    }
    return try UnixSocket.receive(from: socket, by: .after(seconds: left))
  }

  private func problem(_ answer: HolderMessage) -> HolderError {
    switch answer {
    case .refused(let refusal): HolderError(id: id, problem: .refused(refusal))
    case .failed(let error): HolderError(id: id, problem: .failed(error))
    default: HolderError(id: id, problem: .unexpected)
    }
  }
}
