import CLinux
import Glibc

/// A background process that does not answer as it should.
struct HolderError: Error {
  let id: String
  let problem: String
}

/// A command's end of the control socket of a background process.
struct HolderClient {
  let id: String
  private let socket: Descriptor

  /// How long a process may take for an answer; its work is a matter of milliseconds.
  private static let secondsToAnswer = 5

  init(id: String, socket: Descriptor) throws(SystemError) {
    self.id = id
    self.socket = socket
    try UnixSocket.limit(socket, seconds: Self.secondsToAnswer)
  }

  /// Connects to a process that runs already; nil where none answers there any more.
  static func connect(to id: String, in folder: Descriptor) throws(SystemError) -> HolderClient? {
    do {
      return try HolderClient(id: id, socket: UnixSocket.connect(to: ControlSocket.name(id), in: folder))
    } catch  where error.errno == ENOENT || error.errno == ECONNREFUSED {
      return nil
    }
  }

  /// The number of the process at the other end, as the kernel knows it.
  var pid: Int32? {
    var credentials = clinux_ucred()
    return clinux_peer_credentials(socket.raw, &credentials) == 0 ? credentials.pid : nil
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

  func begin() throws { try request(.begin) }

  /// Copies of a holding's sockets; the process keeps its own until it is told to release them.
  func take(_ id: String) throws -> [Descriptor] {
    try UnixSocket.send(HolderMessage.take(id: id).bytes, to: socket)
    var sockets: [Descriptor] = []
    while true {
      let (bytes, descriptors) = try UnixSocket.receive(from: socket)
      guard case .sockets(let remaining) = HolderMessage(bytes) else { throw unexpected }
      sockets += descriptors
      if remaining == 0 { return sockets }
    }
  }

  func release(_ ids: [String]) throws {
    for start in stride(from: 0, to: ids.count, by: HolderMessage.holdingsPerMessage) {
      let part = ids[start..<min(start + HolderMessage.holdingsPerMessage, ids.count)]
      try request(.release(ids: Array(part)))
    }
  }

  /// Everything that the process holds.
  func describe() throws -> [Holding] {
    try UnixSocket.send(HolderMessage.describe.bytes, to: socket)
    var holdings: [Holding] = []
    while true {
      guard case .described(let part) = HolderMessage(try UnixSocket.receive(from: socket).bytes) else {
        throw unexpected
      }
      if part.isEmpty { return holdings }
      holdings += part
    }
  }

  private func request(_ message: HolderMessage, _ descriptors: [Descriptor] = []) throws {
    try UnixSocket.send(message.bytes, descriptors, to: socket)
    guard HolderMessage(try UnixSocket.receive(from: socket).bytes) == .done else { throw unexpected }
  }

  private var unexpected: HolderError {
    HolderError(id: id, problem: "it refused, or ended meanwhile")
  }
}
