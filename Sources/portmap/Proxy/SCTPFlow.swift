import CLinux
import Glibc

// One direction of an association: messages from a source socket to a destination socket, whole, with their labels.
//
// A message that comes and goes in one piece passes through the shared buffer. One that comes in parts is collected
// first: the kernel delivers so what is longer than the buffer, and whatever comes while its own space is full, and
// Linux cannot send so (it has no SCTP_EXPLICIT_EOR). One that the destination has no room for is kept. There is one
// such message at the most: while a whole one waits nothing is read, and the rest stays in the kernel, where it holds
// up the source.
//
//   moving    messages are read and written.
//   dropping  the destination takes nothing more: messages are read and forgotten, until the source has ended too.
//   ended     the source has ended and everything is written. The owner passes the end on and asks no more.

struct SCTPFlow {
  private enum Stage { case moving, dropping, ended }

  /// What one call of `pump` may move, as in TCP.
  private static let budget = 4 << 20
  /// The bytes that a message in parts may have; a longer one breaks the flow, as it cannot be passed on. Signalling
  /// stays below 64 KiB, and WebRTC's data channels below 256 KiB.
  private static let longestMessage = 1 << 20
  /// The same while all flows together keep more than they should: a thousand clients that begin a message and never
  /// end it must not cost a gigabyte.
  private static let longestWhenCrowded = 64 << 10

  var readable = false
  var writable = false
  private var stage = Stage.moving
  /// A message that is being collected, or, when `isWhole`, waits for room.
  private var kept: [UInt8] = []
  private var isWhole = false
  private var label = SCTPLabel()

  /// Bytes that were read to be passed on since they were asked for.
  private var uncounted: UInt64 = 0
  /// Why the source, or the destination, is broken.
  private(set) var readError: Int32?
  private(set) var writeError: Int32?

  var hasEnded: Bool { stage == .ended }

  /// Returns how many bytes were read since the last call.
  mutating func takeCount() -> UInt64 {
    defer { uncounted = 0 }
    return uncounted
  }

  /// Frees what is under way.
  mutating func discard(_ buffers: FlowBuffers) {
    buffers.keep(-kept.count)
    kept = []
    isWhole = false
  }

  /// Tells that the destination is shut down.
  mutating func drop(_ buffers: FlowBuffers) {
    guard stage == .moving else { return }
    discard(buffers)
    stage = .dropping
  }

  /// Moves what can be moved now.
  mutating func pump(
    from source: Descriptor,
    to destination: Descriptor,
    _ buffers: FlowBuffers
  ) -> FlowProgress {
    guard stage != .ended else { return .waiting }
    var moved = 0
    while true {
      guard flush(to: destination, buffers) else { return .failed }
      guard !isWhole && (writable || stage == .dropping) else { return .waiting }
      guard readable else {
        // The kernel reports no end of input to the side that was shut down first.
        return stage == .dropping && source.sctpStreams() == nil ? end(buffers) : .waiting
      }
      if moved >= Self.budget { return .more }
      let buffer = buffers.buffer()
      switch SCTPMessage.receive(from: source, into: buffer) {
      case .notNow: readable = false
      case .failed(let code):
        readError = code
        return .failed
      case .ended: return end(buffers)
      case .notification: break
      case .part(let count, let label, let isLast):
        moved += count
        self.label = label
        let part = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        guard take(part, isLast: isLast, to: destination, buffers) else { return .failed }
      }
    }
  }

  /// A message whose end has not come is none.
  private mutating func end(_ buffers: FlowBuffers) -> FlowProgress {
    discard(buffers)
    stage = .ended
    return .ended
  }

  /// Passes a message on at once if this is all of it, else adds to what is kept. False when the flow is broken.
  private mutating func take(
    _ part: UnsafeRawBufferPointer,
    isLast: Bool,
    to destination: Descriptor,
    _ buffers: FlowBuffers
  ) -> Bool {
    if stage == .dropping { return true }
    uncounted &+= UInt64(part.count)
    if isLast && kept.isEmpty {
      guard write(part, to: destination, buffers) else { return false }
      if writable || stage == .dropping { return true }
    } else {
      let limit = buffers.isCrowded ? Self.longestWhenCrowded : Self.longestMessage
      guard kept.count + part.count <= limit else {
        readError = EMSGSIZE
        return false
      }
    }
    kept.append(contentsOf: part)
    buffers.keep(part.count)
    isWhole = isLast
    return true
  }

  /// Writes the message that waits, if there is one and room for it. False when the flow is broken.
  private mutating func flush(to destination: Descriptor, _ buffers: FlowBuffers) -> Bool {
    guard isWhole && writable else { return true }
    let message = kept
    guard message.withUnsafeBytes({ write($0, to: destination, buffers) }) else { return false }
    if writable { discard(buffers) }
    return true
  }

  /// Writes a whole message, or clears `writable` if there is no room. False when the flow is broken.
  private mutating func write(
    _ message: UnsafeRawBufferPointer,
    to destination: Descriptor,
    _ buffers: FlowBuffers
  ) -> Bool {
    switch SCTPMessage.send(message, label, to: destination) {
    case .done: break
    case .notNow: writable = false
    // It has shut down or is gone; which of them, the other direction learns.
    case .failed(EPIPE), .failed(ESHUTDOWN): drop(buffers)
    case .failed(let code):
      writeError = code
      return false
    }
    return true
  }
}
