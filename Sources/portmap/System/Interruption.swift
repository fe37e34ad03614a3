import CLinux

/// A signal that asks the command to end: it undoes what it has begun, then dies of it.
struct Interruption: Error {
  let signal: Int32

  /// Throws when INT, TERM, HUP or QUIT has arrived. Asked between the steps of a command, not while undoing.
  static func check() throws {
    let signal = clinux_caught_signal()
    if signal != 0 { throw Interruption(signal: signal) }
  }
}
