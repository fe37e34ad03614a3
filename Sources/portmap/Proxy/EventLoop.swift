import CLinux
import Glibc

/// A receiver of what happens to a descriptor. A handler may register, change and remove anything, itself included,
/// while it runs.
protocol EventHandler: AnyObject {
  /// `events` are epoll's bits, or 0 where the handler had itself called again; `tag` is the number that the
  /// descriptor was added with, for owners of more than one.
  func handle(events: UInt32, tag: UInt32)
}

/// A descriptor's place in an event loop. The generation tells it from whoever had the place before: an event
/// that was under way when a descriptor was removed is dropped, even if its number is in use again.
struct Registration: Hashable {
  fileprivate let index: UInt32
  fileprivate let generation: UInt32

  fileprivate var bits: UInt64 { UInt64(generation) << 32 | UInt64(index) }
}

/// epoll's events by names that read in Swift.
enum Readiness {
  static let input = EPOLLIN.rawValue
  static let output = EPOLLOUT.rawValue
  static let urgent = EPOLLPRI.rawValue
  static let peerEnded = EPOLLRDHUP.rawValue
  static let hangup = EPOLLHUP.rawValue
  static let error = EPOLLERR.rawValue
  static let edgeTriggered = EPOLLET.rawValue
}

/// One epoll instance, served by the thread that calls `run`.
///
/// A turn waits for events (for ever, unless a timer is set or a handler asked to be called again), hands them to
/// their handlers, calls those that asked for it, fires what timers are due and ends with the `onTurnEnd` blocks.
/// Registrations are level-triggered unless `events` has `Readiness.edgeTriggered`.
final class EventLoop {
  private struct Slot {
    var handler: (any EventHandler)?
    var descriptor: Int32
    var generation: UInt32
    var tag: UInt32
  }

  /// As many as a busy turn brings; more would only delay the blocks at its end.
  private static let eventsATurn: Int32 = 128

  private let epoll: Descriptor
  private let events: UnsafeMutablePointer<epoll_event>
  private var slots: [Slot] = []
  private var freeSlots: [UInt32] = []
  private var repeats: [Registration] = []
  private var turnEnds: [() -> Void] = []
  private var timers = TimerQueue()
  private var stopped = false
  /// The monotonic clock in milliseconds, as it was when this turn's events came in.
  private(set) var now = monotonicMilliseconds()

  init() throws(SystemError) {
    epoll = try Descriptor("epoll_create1") { epoll_create1(Int32(EPOLL_CLOEXEC)) }
    events = .allocate(capacity: Int(Self.eventsATurn))
  }

  deinit { events.deallocate() }

  /// Watches a descriptor. The loop keeps the handler, not the descriptor: the handler must, until it is removed.
  func add(
    _ descriptor: Descriptor,
    events: UInt32,
    handler: any EventHandler,
    tag: UInt32 = 0
  ) throws(SystemError) -> Registration {
    let index = freeSlots.popLast() ?? UInt32(slots.count)
    if index == slots.count {
      slots.append(Slot(handler: nil, descriptor: -1, generation: 0, tag: 0))
    }
    let registration = Registration(index: index, generation: slots[Int(index)].generation)
    do {
      try control(EPOLL_CTL_ADD, descriptor.raw, events, registration)
    } catch {
      freeSlots.append(index)
      throw error
    }
    slots[Int(index)].handler = handler
    slots[Int(index)].descriptor = descriptor.raw
    slots[Int(index)].tag = tag
    return registration
  }

  /// Watches for other events from now on.
  func modify(_ registration: Registration, events: UInt32) throws(SystemError) {
    guard isCurrent(registration) else { return }
    try control(EPOLL_CTL_MOD, slots[Int(registration.index)].descriptor, events, registration)
  }

  /// Ends a registration; one that has ended already is left alone.
  ///
  /// `closing` saves the system call where the descriptor, of which there is no copy, is closed right afterwards.
  func remove(_ registration: Registration, closing: Bool = false) {
    guard isCurrent(registration) else { return }
    let index = Int(registration.index)
    if !closing {
      var event = epoll_event()
      _ = epoll_ctl(epoll.raw, EPOLL_CTL_DEL, slots[index].descriptor, &event)
    }
    slots[index].generation &+= 1
    slots[index].descriptor = -1
    freeSlots.append(registration.index)
    // Last, as it may free the handler, whose end may come back here.
    slots[index].handler = nil
  }

  /// Calls the handler again in the next turn, after whatever else has become ready: how a busy descriptor lets
  /// others have their turn without losing its edge.
  func again(_ registration: Registration) {
    repeats.append(registration)
  }

  /// Runs `body` at the end of every turn, for work that is cheaper in bulk.
  func onTurnEnd(_ body: @escaping () -> Void) {
    turnEnds.append(body)
  }

  /// Runs `body` once, not before `milliseconds` have passed.
  @discardableResult
  func after(milliseconds: Int, _ body: @escaping () -> Void) -> TimerQueue.Identifier {
    timers.add(deadline: monotonicMilliseconds() + Int64(milliseconds), body)
  }

  /// Makes sure that a timer does not fire any more.
  func cancel(_ timer: TimerQueue.Identifier) {
    timers.remove(timer)
  }

  /// Serves until a handler calls `stop`. A signal that is caught ends the turn early, so that `onTurnEnd` runs.
  func run() throws(SystemError) {
    stopped = false
    while !stopped { try turn() }
  }

  /// Makes `run` return at the end of this turn.
  func stop() {
    stopped = true
  }

  private func turn() throws(SystemError) {
    let timeout = repeats.isEmpty ? timers.wait(now: monotonicMilliseconds()) : 0
    let count = epoll_wait(epoll.raw, events, Self.eventsATurn, timeout)
    if count < 0 && errno != EINTR { throw SystemError(call: "epoll_wait", errno: errno) }
    now = monotonicMilliseconds()
    let repeated = repeats
    if !repeats.isEmpty { repeats.removeAll(keepingCapacity: true) }
    for event in UnsafeBufferPointer(start: events, count: max(0, Int(count))) {
      let bits = event.data.u64
      deliver(
        event.events,
        to: Registration(index: UInt32(truncatingIfNeeded: bits), generation: UInt32(bits >> 32))
      )
    }
    for registration in repeated { deliver(0, to: registration) }
    while let body = timers.popDue(now: now) { body() }
    for body in turnEnds { body() }
  }

  private func deliver(_ events: UInt32, to registration: Registration) {
    guard isCurrent(registration) else { return }
    let slot = slots[Int(registration.index)]
    slot.handler?.handle(events: events, tag: slot.tag)
  }

  private func isCurrent(_ registration: Registration) -> Bool {
    registration.index < slots.count && slots[Int(registration.index)].generation == registration.generation
  }

  private func control(
    _ operation: Int32,
    _ descriptor: Int32,
    _ events: UInt32,
    _ registration: Registration
  ) throws(SystemError) {
    var event = epoll_event()
    event.events = events
    event.data.u64 = registration.bits
    try syscall("epoll_ctl") { epoll_ctl(epoll.raw, operation, descriptor, &event) }
  }
}

/// A clock that never jumps and costs no system call; a tick of it is a few milliseconds.
func monotonicMilliseconds() -> Int64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
  return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
