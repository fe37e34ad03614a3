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

extension Descriptor {
  /// The options of a relayed stream. A listener hands them down to what it accepts.
  func setStreamOptions(_ transport: Transport) {
    // What was not delayed on the way in is not to be delayed on the way out.
    if transport == .sctp {
      setOption(SocketLevel.sctp, SCTP_NODELAY, 1)
      setOption(SocketLevel.sctp, SCTP_RECVRCVINFO, 1)
    } else {
      setOption(SocketLevel.tcp, TCP_NODELAY, 1)
      // Urgent bytes stay where they are in the stream: nobody here could tell whom they are urgent to.
      setOption(SocketLevel.socket, SO_OOBINLINE, 1)
    }
    // A peer that vanished without a word must not hold its descriptors for ever.
    setOption(SocketLevel.socket, SO_KEEPALIVE, 1)
  }
}

extension Outcome {
  /// Whether the process or the system has run out of descriptors or memory for sockets.
  static func isExhaustion(_ code: Int32) -> Bool {
    code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
  }
}
