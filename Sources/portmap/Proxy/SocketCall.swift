import CLinux
import Glibc

/// What came of a call on a socket or pipe that does not block. Errors of a single flow are ordinary here, several
/// a millisecond on a busy day: they are values, not `SystemError`s with their text.
enum Outcome {
  case done(Int)
  case notNow
  case failed(Int32)
}

/// Makes a call that does not block, again where a signal interrupted it. EBADF and EFAULT end the program, since
/// only a mistake in it can bring them about.
@inline(__always)
func attempt(_ name: StaticString, _ body: () -> Int) -> Outcome {
  while true {
    let result = body()
    if result >= 0 { return .done(result) }
    let code = errno
    switch code {
    case EINTR: continue
    case EAGAIN: return .notNow
    case EBADF, EFAULT: trap(name, code)
    default: return .failed(code)
    }
  }
}

/// Constants that no header shows to Swift.
enum SocketConstant {
  static let udpSegment: Int32 = 103
  static let udpGRO: Int32 = 104
  static let solUDP: Int32 = 17
  static let ipPacketInfo: Int32 = 8
  static let ipv6ReceivePacketInfo: Int32 = 49
  static let ipv6PacketInfo: Int32 = 50
  // <linux/sctp.h>: options, control messages, a flag of a message.
  static let solSCTP: Int32 = 132
  static let sctpInitMessage: Int32 = 2
  static let sctpNoDelay: Int32 = 3
  static let sctpStatus: Int32 = 14
  static let sctpReceiveReceiveInfo: Int32 = 32
  static let sctpSendInfo: Int32 = 2
  static let sctpReceiveInfo: Int32 = 3
  static let sctpUnordered: UInt16 = 1
}

extension Descriptor {
  /// Sets an option that is a number; false where the kernel will not have it.
  @discardableResult
  func setOption(_ level: Int32, _ option: Int32, _ value: Int32) -> Bool {
    var value = value
    return setsockopt(raw, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) == 0
  }

  /// Makes the receive and send buffers large: past the system's limit where the process may, else up to it. What is
  /// as large already, made so by somebody with the right to it, stays so.
  func setBufferSizes(receive: Int32, send: Int32) {
    enlarge(SO_RCVBUFFORCE, SO_RCVBUF, receive)
    enlarge(SO_SNDBUFFORCE, SO_SNDBUF, send)
  }

  private func enlarge(_ forced: Int32, _ ordinary: Int32, _ size: Int32) {
    var current: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    // The kernel doubles what it is given, for its own bookkeeping, and tells the double.
    if getsockopt(raw, SOL_SOCKET, ordinary, &current, &length) == 0, current / 2 >= size { return }
    if !setOption(SOL_SOCKET, forced, size) { setOption(SOL_SOCKET, ordinary, size) }
  }

  func setNonBlocking() throws(SystemError) {
    let flags = try syscall("fcntl") { fcntl(raw, F_GETFL) }
    try syscall("fcntl") { fcntl(raw, F_SETFL, flags | O_NONBLOCK) }
  }

  /// The options of a relayed stream. A listener hands them down to what it accepts.
  func setStreamOptions(_ transport: Transport) {
    // What was not delayed on the way in is not to be delayed on the way out.
    if transport == .sctp {
      setOption(SocketConstant.solSCTP, SocketConstant.sctpNoDelay, 1)
      setOption(SocketConstant.solSCTP, SocketConstant.sctpReceiveReceiveInfo, 1)
    } else {
      setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
      // Urgent bytes stay where they are in the stream: nobody here could tell whom they are urgent to.
      setOption(SOL_SOCKET, SO_OOBINLINE, 1)
    }
    // A peer that vanished without a word must not hold its descriptors for ever.
    setOption(SOL_SOCKET, SO_KEEPALIVE, 1)
  }

  /// Makes `close` send a RST and forget what is unsent.
  func setAbortOnClose() {
    var linger = linger(l_onoff: 1, l_linger: 0)
    _ = setsockopt(raw, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
  }

  /// Opens a socket for an address's family that does not block and is not inherited.
  static func socket(for address: SocketAddress, _ transport: Transport) throws(SystemError) -> Descriptor {
    let kind = transport == .udp ? SOCK_DGRAM : SOCK_STREAM
    let number =
      switch transport {
      case .tcp: Int32(IPPROTO_TCP)
      case .udp: Int32(IPPROTO_UDP)
      case .sctp: Int32(IPPROTO_SCTP)
      }
    let type = Int32(kind.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    return try Descriptor("socket") {
      Glibc.socket(address.ip.family == .v4 ? AF_INET : AF_INET6, type, number)
    }
  }
}

extension Outcome {
  /// Whether the process or the system has run out of descriptors or memory for sockets.
  static func isExhaustion(_ code: Int32) -> Bool {
    code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
  }
}
