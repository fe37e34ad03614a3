import Glibc

/// A file descriptor with one owner: closed, once, when the last reference to it goes.
final class Descriptor {
  let raw: Int32

  /// Takes over a descriptor that is open.
  init(owning raw: Int32) {
    self.raw = raw
  }

  /// Takes over what a system call returned, or throws its errno.
  convenience init(_ name: StaticString, about subject: String? = nil, _ body: () -> Int32)
    throws(SystemError)
  {
    self.init(owning: try syscall(name, about: subject, body))
  }

  deinit {
    // Never repeated: Linux has given the number back even where it reports EINTR.
    close(raw)
  }
}
