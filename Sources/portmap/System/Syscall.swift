import Glibc

/// A system call that failed: its name, its errno, and what it was about.
struct SystemError: Error, Equatable, CustomStringConvertible {
  let call: String
  let errno: Int32
  var subject: String?

  /// The kernel's words for it, in lower case as the rest of a message: `address already in use`.
  var reason: String {
    let text = String(cString: strerror(errno))
    return text.prefix(1).lowercased() + text.dropFirst()
  }

  var description: String { "\(subject ?? call): \(reason)" }
}

/// Runs a system call: again where a signal interrupted it, and with its errno thrown where it failed.
///
/// EBADF and EFAULT end the program, since only a mistake in it can bring them about. `close` must not come through
/// here: it is never repeated.
@discardableResult
@inline(__always)
func syscall<Result: FixedWidthInteger & SignedInteger>(
  _ name: StaticString,
  about subject: @autoclosure () -> String? = nil,
  _ body: () -> Result
) throws(SystemError) -> Result {
  while true {
    let result = body()
    if result != -1 { return result }
    let code = errno
    if code == EINTR { continue }
    if code == EBADF || code == EFAULT { trap(name, code) }
    throw SystemError(call: "\(name)", errno: code, subject: subject())
  }
}

/// The same for calls on sockets and pipes that do not block: nil stands for "not now" (EAGAIN).
@inline(__always)
func nonblocking<Result: FixedWidthInteger & SignedInteger>(
  _ name: StaticString,
  _ body: () -> Result
) throws(SystemError) -> Result? {
  do {
    return try syscall(name, body)
  } catch  where error.errno == EAGAIN {
    return nil
  }
}

/// Ends the program on an errno that only a mistake in it can bring about.
@inline(never)
func trap(_ name: StaticString, _ code: Int32) -> Never {
  fatalError("\(name): \(String(cString: strerror(code)))")
}
