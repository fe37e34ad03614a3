/// Timers in the order in which they fall due. There are a handful at any time (one for each kind of waiting, not
/// one for each thing that waits), so an array kept in order is all it takes.
struct TimerQueue {
  /// The name of a timer, good until it has fired.
  struct Identifier: Hashable {
    fileprivate let number: UInt64
  }

  private struct Entry {
    let deadline: Int64
    let identifier: Identifier
    let body: () -> Void
  }

  /// The next one due stands last, where taking it costs nothing.
  private var entries: [Entry] = []
  private var count: UInt64 = 0

  mutating func add(deadline: Int64, _ body: @escaping () -> Void) -> Identifier {
    count += 1
    let entry = Entry(deadline: deadline, identifier: Identifier(number: count), body: body)
    let place = entries.lastIndex { $0.deadline > deadline }.map { $0 + 1 } ?? 0
    entries.insert(entry, at: place)
    return entry.identifier
  }

  mutating func remove(_ identifier: Identifier) {
    entries.removeAll { $0.identifier == identifier }
  }

  /// Takes out the timer that has been due the longest.
  mutating func popDue(now: Int64) -> (() -> Void)? {
    guard let last = entries.last, last.deadline <= now else { return nil }
    return entries.removeLast().body
  }

  /// The milliseconds that epoll_wait may sleep; -1, for ever, when no timer is set.
  func wait(now: Int64) -> Int32 {
    guard let last = entries.last else { return -1 }
    return Int32(clamping: max(0, last.deadline - now))
  }
}
