import Glibc

/// The buffer that all flows of a proxy read into and write from, their pipes, and an account of the bytes that flows
/// keep because they could not be written at once.
final class FlowBuffers {
  /// Reads of 64 KiB and less are slower; a buffer of this size for each connection would be waste.
  static let size = 256 << 10
  /// Where all flows together keep more than this, reads become small, so that a thousand backends that never read
  /// cost no more than a thousand small reads besides.
  private static let leftoverLimit = 16 << 20
  private static let smallRead = 16 << 10

  let pipes = PipePool()
  private var memory: UnsafeMutableRawPointer?
  private var leftoverBytes = 0

  deinit { release() }

  /// Returns the shared buffer, no longer than the next read may be. It is allocated when the first bytes come.
  func buffer() -> UnsafeMutableRawBufferPointer {
    if memory == nil {
      let fresh = mmap(nil, Self.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      if let fresh, fresh != MAP_FAILED { memory = fresh }
    }
    // As any allocation of the language's own does when there is no memory left.
    guard let memory else { fatalError("mmap: \(String(cString: strerror(errno)))") }
    let count = isCrowded ? Self.smallRead : Self.size
    return UnsafeMutableRawBufferPointer(start: memory, count: count)
  }

  /// Whether flows keep more than they should.
  var isCrowded: Bool { leftoverBytes > Self.leftoverLimit }

  /// Counts bytes that a flow keeps by itself; a negative number counts those that it has given up.
  func keep(_ count: Int) { leftoverBytes += count }

  /// Keeps a copy of bytes that could not be written at once.
  func leftover(_ bytes: UnsafeRawBufferPointer) -> Leftover {
    leftoverBytes += bytes.count
    return Leftover(copying: bytes)
  }

  /// Frees a copy.
  func discard(_ leftover: Leftover) {
    leftoverBytes -= leftover.count
  }

  /// Gives memory and pipes back, which nobody needs while there is no traffic.
  func release() {
    pipes.trim()
    if let memory { munmap(memory, Self.size) }
    memory = nil
  }
}

/// Bytes that were read and could not be written yet. Its owner gives it back with `FlowBuffers.discard`.
final class Leftover {
  private let memory: UnsafeMutableRawBufferPointer
  private var written = 0

  fileprivate init(copying bytes: UnsafeRawBufferPointer) {
    memory = .allocate(byteCount: bytes.count, alignment: 1)
    memory.copyMemory(from: bytes)
  }

  deinit { memory.deallocate() }

  var count: Int { memory.count }
  var rest: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[written...]) }
  var isEmpty: Bool { written == memory.count }

  func drop(_ count: Int) { written += count }
}
