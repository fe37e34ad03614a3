import Glibc

/// The outcome of a call on a socket or pipe that does not block. Errors of a single flow are ordinary, several a
/// millisecond on a busy day: they are values, not `SystemError`s with their text.
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

extension Outcome {
  /// Whether the process or the system has run out of descriptors or memory for sockets.
  static func isExhaustion(_ code: Int32) -> Bool {
    code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM
  }
}
