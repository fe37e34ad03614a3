import CLinux
import Glibc

// One direction of a connection: bytes from a source socket to a destination socket.
//
// State: whether the source may have something to read and the destination room (edges that epoll reported and no
// EAGAIN has taken back), what is under way between the two (a leftover or a pipe, never both), and how far the
// stream has come:
//
//   moving    bytes are read and written. Nothing is read while something is under way, so a destination that does
//             not read costs one leftover or pipe, and the rest waits in the kernel, where it holds up the source.
//   draining  the source has ended; what is under way is still to be written.
//   ended     everything is written. The owner passes the end on (shutdown) and asks no more.
//
// `pump` moves what can be moved, within a budget, and says what came of it. It copies through the shared buffer
// until reads have come out large several times in a row, then splices through a pipe, and goes back to copying
// when there is little to move: for small pieces one copy costs less than the second system call.

struct TCPFlow {
  private enum Stage { case moving, draining, ended }

  /// What one call of `pump` may move, so that a fast connection cannot keep the others waiting: some 2 ms. Half of
  /// it costs a tenth more processor time a gigabyte, as the peers are woken more often.
  private static let budget = 4 << 20
  /// A read from which on the source counts as fast, and how many in a row make it bulk.
  private static let largeRead = 64 << 10
  private static let largeReads = 2
  /// A turn that splices less than this ends bulk mode.
  private static let smallTurn = 16 << 10

  var readable = false
  var writable = false
  /// Set once the source has reported its end or an error: a short read then does not mean that nothing is left.
  var readsToTheEnd = false
  /// Cleared where splice does not work: on a stream with an urgent byte, at which it would stop.
  var mayUsePipe = true
  private var stage = Stage.moving
  private var leftover: Leftover?
  private var pipe: Pipe?
  private var largeReadsInARow = 0

  /// Bytes that were read since they were asked for.
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

  /// Puts bytes in front of everything that the source sends.
  mutating func begin(with bytes: [UInt8], _ buffers: FlowBuffers) {
    leftover = bytes.withUnsafeBytes { buffers.leftover($0) }
  }

  /// Frees what is under way.
  mutating func discard(_ buffers: FlowBuffers) {
    if let leftover { buffers.discard(leftover) }
    if let pipe { buffers.pipes.give(pipe) }
    leftover = nil
    pipe = nil
  }

  /// Moves what can be moved now.
  mutating func pump(from source: Int32, to destination: Int32, _ buffers: FlowBuffers) -> FlowProgress {
    guard stage != .ended else { return .waiting }
    defer { giveBackEmptyPipe(buffers) }
    var moved = 0
    while true {
      guard flush(to: destination, buffers) else { return .failed }
      if isUnderWay { return .waiting }
      if stage == .draining {
        stage = .ended
        return .ended
      }
      guard readable && writable else { return .waiting }
      if moved >= Self.budget { return .more }
      let intact =
        if let pipe = bulkPipe(buffers) {
          fill(pipe, from: source, &moved)
        } else {
          copy(from: source, to: destination, &moved, buffers)
        }
      guard intact else { return .failed }
    }
  }

  private var isUnderWay: Bool { leftover != nil || (pipe?.held ?? 0) > 0 }

  /// One read and the write of what it brought. False when the flow is broken.
  private mutating func copy(
    from source: Int32,
    to destination: Int32,
    _ moved: inout Int,
    _ buffers: FlowBuffers
  ) -> Bool {
    let buffer = buffers.buffer()
    switch attempt("recv", { recv(source, buffer.baseAddress, buffer.count, 0) }) {
    case .notNow:
      readable = false
    case .failed(let code):
      readError = code
      return false
    case .done(0):
      stage = .draining
    case .done(let count):
      uncounted &+= UInt64(count)
      if count < buffer.count && mayUsePipe && !readsToTheEnd { readable = false }
      largeReadsInARow = count >= Self.largeRead ? largeReadsInARow + 1 : 0
      moved += count
      return write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: destination, buffers)
    }
    return true
  }

  private mutating func write(
    _ bytes: UnsafeRawBufferPointer,
    to destination: Int32,
    _ buffers: FlowBuffers
  ) -> Bool {
    switch Self.send(bytes, destination) {
    case .notNow:
      writable = false
      leftover = buffers.leftover(bytes)
    case .failed(let code):
      return breakDestination(code)
    case .done(let count) where count < bytes.count:
      writable = false
      leftover = buffers.leftover(UnsafeRawBufferPointer(rebasing: bytes[count...]))
    case .done:
      break
    }
    return true
  }

  /// Fills an empty pipe from the source, as far as it goes in one call. False when the flow is broken.
  private mutating func fill(_ pipe: Pipe, from source: Int32, _ moved: inout Int) -> Bool {
    switch Self.splice(source, pipe.writing.raw, Int(PipePool.size)) {
    case .notNow:
      readable = false
      if moved < Self.smallTurn { largeReadsInARow = 0 }
    case .failed(EINVAL):
      mayUsePipe = false
    case .failed(let code):
      readError = code
      return false
    case .done(0):
      stage = .draining
    case .done(let count):
      pipe.held = count
      uncounted &+= UInt64(count)
      moved += count
    }
    return true
  }

  /// Writes what is under way, as far as there is room. False when the destination is broken.
  private mutating func flush(to destination: Int32, _ buffers: FlowBuffers) -> Bool {
    while writable, let left = leftover {
      switch Self.send(left.rest, destination) {
      case .notNow: writable = false
      case .failed(let code): return breakDestination(code)
      case .done(let count): left.drop(count)
      }
      if left.isEmpty {
        buffers.discard(left)
        leftover = nil
      }
    }
    while writable, let pipe, pipe.held > 0 {
      switch Self.splice(pipe.reading.raw, destination, pipe.held) {
      case .notNow: writable = false
      case .failed(let code): return breakDestination(code)
      case .done(let count): pipe.held -= count
      }
    }
    return true
  }

  /// Notes why the destination is broken. Always false.
  private mutating func breakDestination(_ code: Int32) -> Bool {
    writeError = code
    return false
  }

  /// The pipe to use now, if bulk data is to be expected and there is one.
  private mutating func bulkPipe(_ buffers: FlowBuffers) -> Pipe? {
    guard mayUsePipe && largeReadsInARow >= Self.largeReads else { return nil }
    if pipe == nil { pipe = buffers.pipes.take() }
    return pipe
  }

  private mutating func giveBackEmptyPipe(_ buffers: FlowBuffers) {
    guard let pipe, pipe.held == 0 else { return }
    buffers.pipes.give(pipe)
    self.pipe = nil
  }

  private static func send(_ bytes: UnsafeRawBufferPointer, _ destination: Int32) -> Outcome {
    attempt("send") { Glibc.send(destination, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
  }

  private static func splice(_ source: Int32, _ destination: Int32, _ count: Int) -> Outcome {
    attempt("splice") { clinux_splice(source, destination, count) }
  }
}
