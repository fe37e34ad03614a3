import Glibc

/// A point in time at which somebody stops waiting for another process.
struct Deadline {
  /// No end but a signal's: for a process whose counterpart may be stopped for as long as somebody likes.
  static let never = Deadline(milliseconds: .max)

  private let milliseconds: Int64

  private init(milliseconds: Int64) {
    self.milliseconds = milliseconds
  }

  static func after(milliseconds: Int) -> Deadline {
    Deadline(milliseconds: now + Int64(milliseconds))
  }

  static func after(seconds: Int) -> Deadline { after(milliseconds: seconds * 1000) }

  private static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }

  var hasPassed: Bool { Self.now >= milliseconds }

  /// A signal may arrive just before a call that waits, and not interrupt it: it is heard of after this many
  /// milliseconds at the most.
  static let slice = 100

  /// The milliseconds until the deadline, a slice at the most.
  private var nextSlice: Int32 { Int32(clamping: min(max(0, milliseconds - Self.now), Int64(Self.slice))) }

  /// Waits until one of poll(2)'s events has come about.
  ///
  /// - Returns: False when the time is up.
  /// - Throws: Interruption when a signal asks the command to end.
  func wait(for events: Int32, of descriptor: Descriptor) throws -> Bool {
    var requests = [pollfd(fd: descriptor.raw, events: Int16(events), revents: 0)]
    return try wait(for: &requests)
  }

  /// The same for several descriptors; each request says which events have come about.
  func wait(for requests: inout [pollfd]) throws -> Bool {
    while true {
      let count = poll(&requests, nfds_t(requests.count), nextSlice)
      if count > 0 { return true }
      if count < 0, errno != EINTR, errno != EAGAIN { throw SystemError(call: "poll", errno: errno) }
      try Interruption.checkWhileWaiting()
      if hasPassed { return false }
    }
  }
}
