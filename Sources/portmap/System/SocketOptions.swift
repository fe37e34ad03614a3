import CLinux
import Glibc

/// What an option of a socket belongs to: the socket itself, or a protocol by its number.
enum SocketLevel {
  static let socket = SOL_SOCKET
  static let ip = Int32(IPPROTO_IP)
  static let ipv6 = Int32(IPPROTO_IPV6)
  static let tcp = Transport.tcp.number
  static let udp = Transport.udp.number
  static let sctp = Transport.sctp.number
}

extension Descriptor {
  /// Sets an option that is a number, and throws where the kernel refuses it.
  func requireOption(
    _ level: Int32,
    _ option: Int32,
    _ value: Int32,
    about subject: @autoclosure () -> String? = nil
  ) throws(SystemError) {
    guard setOption(level, option, value) else {
      throw SystemError(call: "setsockopt", errno: errno, subject: subject())
    }
  }

  /// Sets an option that is a number; false where the kernel refuses it.
  @discardableResult
  func setOption(_ level: Int32, _ option: Int32, _ value: Int32) -> Bool {
    setOption(level, option, structure: value)
  }

  /// Sets an option that is a structure; false where the kernel refuses it.
  @discardableResult
  func setOption<Value: BitwiseCopyable>(_ level: Int32, _ option: Int32, structure value: Value) -> Bool {
    withUnsafePointer(to: value) {
      setsockopt(raw, level, option, $0, socklen_t(MemoryLayout<Value>.size)) == 0
    }
  }

  /// Reads an option into a value of its type.
  func option<Value: BitwiseCopyable>(
    _ level: Int32,
    _ option: Int32,
    into value: Value
  ) throws(SystemError) -> Value {
    var value = value
    var length = socklen_t(MemoryLayout<Value>.size)
    try syscall("getsockopt") { getsockopt(raw, level, option, &value, &length) }
    return value
  }

  /// Restricts the socket to what comes in on an interface.
  func bindToDevice(_ device: String, about subject: String) throws(SystemError) {
    try syscall("setsockopt", about: subject) {
      setsockopt(raw, SocketLevel.socket, SO_BINDTODEVICE, device, socklen_t(device.utf8.count))
    }
  }

  /// Has what the socket sends pass that many routers less one.
  func setHopLimit(_ count: Int32, _ family: IPAddress.Family) {
    switch family {
    case .v4: setOption(SocketLevel.ip, IP_TTL, count)
    case .v6: setOption(SocketLevel.ipv6, IPV6_UNICAST_HOPS, count)
    }
  }

  /// Makes the receive and send buffers large: past the system's limit where the process may, else up to it. What is
  /// as large already, made so by somebody with the right to it, stays so.
  func setBufferSizes(receive: Int32, send: Int32) {
    enlarge(SO_RCVBUFFORCE, SO_RCVBUF, receive)
    enlarge(SO_SNDBUFFORCE, SO_SNDBUF, send)
  }

  private func enlarge(_ forced: Int32, _ ordinary: Int32, _ size: Int32) {
    // The kernel doubles what it is given, for its own bookkeeping, and tells the double.
    if let current = try? option(SocketLevel.socket, ordinary, into: Int32(0)), current / 2 >= size { return }
    if !setOption(SocketLevel.socket, forced, size) { setOption(SocketLevel.socket, ordinary, size) }
  }

  /// Makes `close` send a RST and forget what is unsent.
  func setAbortOnClose() {
    setOption(SocketLevel.socket, SO_LINGER, structure: linger(l_onoff: 1, l_linger: 0))
  }

  /// Makes calls return EAGAIN where they would wait.
  func setNonBlocking() throws(SystemError) {
    let flags = try syscall("fcntl") { fcntl(raw, F_GETFL) }
    try syscall("fcntl") { fcntl(raw, F_SETFL, flags | O_NONBLOCK) }
  }
}
