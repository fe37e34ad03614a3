import CLinux
import Glibc

/// Unix sockets that keep message boundaries and carry descriptors.
enum UnixSocket {
  /// The kernel's SCM_MAX_FD.
  static let descriptorsPerMessage = 253
  /// Longer messages are refused by the receiver.
  static let longestMessage = 16384

  /// Two connected ends, close-on-exec.
  static func pair() throws(SystemError) -> (Descriptor, Descriptor) {
    var ends: [Int32] = [-1, -1]
    let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    try syscall("socketpair") { socketpair(AF_UNIX, type, 0, &ends) }
    return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
  }

  /// Listens on a file of a folder, with mode 0600, and sticky: systemd-tmpfiles(8), which does not know the socket by
  /// the path that it was bound to, would else clear it away as an old one that nobody uses.
  static func listen(on name: String, in folder: Descriptor) throws(SystemError) -> Descriptor {
    let socket = try make()
    _ = try withAddress(name, in: folder) { address, length throws(SystemError) in
      try syscall("bind", about: name) { bind(socket.raw, address, length) }
    }
    try syscall("chmod", about: name) { fchmodat(folder.raw, name, S_ISVTX | 0o600, 0) }
    try syscall("listen", about: name) { Glibc.listen(socket.raw, 16) }
    return socket
  }

  /// Connects to a file of a folder. Where the backlog of the one who listens there is full, the call waits, and
  /// nothing but the call: such a socket cannot be polled.
  ///
  /// - Throws: SystemError, ETIMEDOUT at the deadline; Interruption on a signal.
  static func connect(to name: String, in folder: Descriptor, by deadline: Deadline) throws -> Descriptor {
    let socket = try make()
    let slice = timeval(tv_sec: 0, tv_usec: Deadline.slice * 1000)
    guard socket.setOption(SocketLevel.socket, SO_SNDTIMEO, structure: slice) else {
      throw SystemError(call: "setsockopt", errno: errno, subject: name)
    }
    while true {
      let code = try withAddress(name, in: folder) { address, length in
        Glibc.connect(socket.raw, address, length) == 0 ? 0 : errno
      }
      if code == 0 { return socket }
      guard code == EAGAIN || code == EINTR else {
        throw SystemError(call: "connect", errno: code, subject: name)
      }
      try Interruption.checkWhileWaiting()
      if deadline.hasPassed { throw SystemError(call: "connect", errno: ETIMEDOUT, subject: name) }
    }
  }

  /// Connects to a file of a folder with a socket that never waits; nil where the backlog of the one who listens there
  /// is full.
  static func connectAtOnce(to name: String, in folder: Descriptor) throws(SystemError) -> Descriptor? {
    let socket = try make(Int32(SOCK_NONBLOCK.rawValue))
    let connected = try withAddress(name, in: folder) { address, length throws(SystemError) in
      try nonblocking("connect") { Glibc.connect(socket.raw, address, length) }
    }
    return connected == nil ? nil : socket
  }

  /// Whether a descriptor is open and one of these sockets.
  static func isOne(_ descriptor: Int32) -> Bool {
    func option(_ name: Int32) -> Int32? {
      var value: Int32 = 0
      var length = socklen_t(MemoryLayout<Int32>.size)
      return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
    }
    return option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == Int32(SOCK_SEQPACKET.rawValue)
  }

  /// Sends a message.
  ///
  /// - Throws: SystemError, ETIMEDOUT at the deadline; Interruption on a signal.
  static func send(
    _ bytes: [UInt8],
    _ descriptors: [Descriptor] = [],
    to socket: Descriptor,
    by deadline: Deadline
  ) throws {
    let raw = descriptors.map(\.raw)
    while try nonblocking(
      "sendmsg",
      { clinux_send_descriptors(socket.raw, bytes, bytes.count, raw, raw.count) }
    ) == nil {
      guard try deadline.wait(for: POLLOUT, of: socket) else {
        throw SystemError(call: "sendmsg", errno: ETIMEDOUT)
      }
    }
  }

  /// Receives the next message; an empty one without descriptors when the other end has closed.
  ///
  /// - Throws: SystemError, ETIMEDOUT at the deadline; Interruption on a signal.
  static func receive(from socket: Descriptor, by deadline: Deadline) throws -> (
    bytes: [UInt8], descriptors: [Descriptor]
  ) {
    var bytes = [UInt8](repeating: 0, count: longestMessage)
    var raw = [Int32](repeating: -1, count: descriptorsPerMessage)
    var count = 0
    while true {
      let length = try nonblocking("recvmsg") {
        clinux_receive_descriptors(socket.raw, &bytes, bytes.count, &raw, &count)
      }
      if let length {
        return (Array(bytes[..<length]), raw[..<count].map(Descriptor.init(owning:)))
      }
      guard try deadline.wait(for: POLLIN, of: socket) else {
        throw SystemError(call: "recvmsg", errno: ETIMEDOUT)
      }
    }
  }

  /// A socket with a name that belongs to the network namespace and not to the file system.
  ///
  /// - Throws: SystemError with EADDRINUSE where another socket has the name.
  static func bound(toAbstract name: String) throws(SystemError) -> Descriptor {
    let socket = try make()
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = [0] + Array(name.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw SystemError(call: "bind", errno: ENAMETOOLONG, subject: name)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
    try syscall("bind", about: name) {
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket.raw, $0, length) }
      }
    }
    return socket
  }

  private static func make(_ flags: Int32 = 0) throws(SystemError) -> Descriptor {
    let type = Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | flags
    return try Descriptor("socket") { socket(AF_UNIX, type, 0) }
  }

  /// Names the file by way of its folder's descriptor: the folder's own path may be longer than an address holds.
  private static func withAddress<Result>(
    _ name: String,
    in folder: Descriptor,
    _ body: (UnsafePointer<sockaddr>, socklen_t) throws(SystemError) -> Result
  ) throws(SystemError) -> Result {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = Array("/proc/self/fd/\(folder.raw)/\(name)".utf8)
    guard path.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw SystemError(call: "bind", errno: ENAMETOOLONG, subject: name)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
    let pointer = UnsafeMutablePointer<sockaddr_un>.allocate(capacity: 1)
    defer { pointer.deallocate() }
    pointer.initialize(to: address)
    let generic = UnsafeRawPointer(pointer).assumingMemoryBound(to: sockaddr.self)
    return try body(generic, socklen_t(MemoryLayout<sockaddr_un>.size))
  }
}
