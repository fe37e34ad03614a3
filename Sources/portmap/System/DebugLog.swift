import Glibc

/// What a serving process tells of itself on stderr, a line an event of importance, where PORTMAP_DEBUG asks for it.
struct DebugLog {
  /// The variable that a process started for it has in its environment.
  static let setting = "PORTMAP_DEBUG=1"

  /// Whether the environment asks for it; an empty variable counts as unset.
  static var isWanted: Bool { getenv("PORTMAP_DEBUG").map { $0.pointee != 0 } ?? false }

  /// What each line begins with; nil where nothing is told.
  private let prefix: String?

  init(of name: String) {
    prefix = Self.isWanted ? "portmap: \(name): " : nil
  }

  /// Whether anything is told.
  var isOn: Bool { prefix != nil }

  /// Writes a line if it is wanted and somebody reads: nobody who has stopped doing so keeps the traffic waiting.
  func say(_ line: @autoclosure () -> String) {
    guard let prefix else { return }
    var request = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
    guard poll(&request, 1, 0) > 0, request.revents & Int16(POLLOUT) != 0 else { return }
    let bytes = Array("\(prefix)\(line())\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }
}
