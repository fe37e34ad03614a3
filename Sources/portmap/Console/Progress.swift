import Foundation
import Synchronization

/// The line that shows a person at a terminal that a command is still at work, and with what.
///
/// It comes after a second and is replaced by the next one, and by whatever else is said; it needs nothing of a terminal
/// but the carriage return. Where standard error is no terminal, or one that cannot even do that, there is none.
enum Progress {
  private struct Line {
    var task: String?
    var begin: ContinuousClock.Instant?
    /// How many columns it has at the moment.
    var width = 0
  }

  private static let line = Mutex(Line())

  /// Shows a task from its second second on, until it ends.
  static func during<Result>(_ task: @autoclosure () -> String, _ body: () throws -> Result) rethrows
    -> Result
  {
    guard isatty(STDERR_FILENO) == 1, getenv("TERM").map({ strcmp($0, "dumb") }) != 0 else {
      return try body()
    }
    line.withLock { $0 = Line(task: task().printable(), begin: .now) }
    Thread.detachNewThread(show)
    defer { end() }
    return try body()
  }

  /// Takes the line away: something else is about to be said. It comes back.
  static func clear() { line.withLock { erase(&$0) } }

  private static func end() {
    line.withLock { line in
      erase(&line)
      line.task = nil
    }
  }

  /// Shows the line each second, in a thread of its own, which no signal is for.
  @Sendable private static func show() {
    var signals = sigset_t()
    sigfillset(&signals)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    var seconds = 0
    while true {
      usleep(100_000)
      let isOver = line.withLock { line in
        guard let task = line.task, let begin = line.begin else { return true }
        let now = Int(begin.duration(to: .now).components.seconds)
        guard now > seconds || line.width == 0 && now > 0 else { return false }
        seconds = now
        erase(&line)
        let text = Self.text(task, seconds: now, columns: Self.columns)
        line.width = text.unicodeScalars.count
        write(text)
        return false
      }
      if isOver { return }
    }
  }

  /// `portmap: map 8080:80 … 3 s`, no longer than a line.
  static func text(_ task: String, seconds: Int, columns: Int) -> String {
    let end = " ... \(seconds) s"
    return "portmap: \(task)".prefix(max(0, columns - end.count)) + end
  }

  /// How long a line may be: what goes on in the next one could not be taken away. Of a terminal that does not tell,
  /// and of a wide one, the usual 80 columns but for the last, behind which some begin a new line.
  private static var columns: Int {
    var size = winsize()
    let isTold = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    return min(isTold ? Int(size.ws_col) : 80, 80) - 1
  }

  private static func erase(_ line: inout Line) {
    guard line.width > 0 else { return }
    write("\r" + String(repeating: " ", count: line.width) + "\r")
    line.width = 0
  }

  private static func write(_ text: String) {
    let bytes = Array(text.utf8)
    _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
  }
}
