import CLinux
import Glibc

/// A pipe that carries bulk data from one socket to another without a copy, and what it holds of it.
final class Pipe {
  let reading: Descriptor
  let writing: Descriptor
  /// Bytes that have gone in and not yet come out.
  var held = 0

  fileprivate init?(size: Int32) {
    var ends: [Int32] = [-1, -1]
    let flags = Int32(O_NONBLOCK) | Int32(O_CLOEXEC)
    guard clinux_pipe2(&ends, flags) == 0 else { return nil }
    reading = Descriptor(owning: ends[0])
    writing = Descriptor(owning: ends[1])
    // A small pipe is slower than copying: better none.
    guard clinux_set_pipe_size(writing.raw, size) >= size else { return nil }
  }
}

/// A pool of pipes. A flow has one only while it moves bulk data, so a few serve many.
final class PipePool {
  /// Measured: below 256 KiB splice loses to copying, above 1 MiB there is nothing to gain and an ordinary user may
  /// not have more (fs.pipe-max-size).
  static let size: Int32 = 1 << 20
  /// The kernel lets a user without privileges have 64 MiB of pipes (fs.pipe-user-pages-soft) and all our processes
  /// may be one user. Flows beyond these copy.
  private static let limit = 24
  /// Empty pipes kept for the next bulk data.
  private static let spares = 2

  private var spare: [Pipe] = []
  private var lent = 0

  /// Lends an empty pipe; nil when there is none to be had.
  func take() -> Pipe? {
    if let pipe = spare.popLast() {
      lent += 1
      return pipe
    }
    guard lent < Self.limit, let pipe = Pipe(size: Self.size) else { return nil }
    lent += 1
    return pipe
  }

  /// Takes a pipe back; one that still holds bytes is closed with them.
  func give(_ pipe: Pipe) {
    lent -= 1
    if pipe.held == 0 && spare.count < Self.spares { spare.append(pipe) }
  }

  /// Closes the spare pipes.
  func trim() {
    spare = []
  }
}
