import CLinux

/// A signal that asks the command to end: it undoes what it has begun, then dies of it.
struct Interruption: Error {
  let signal: Int32

  /// Throws when INT, TERM, HUP or QUIT has arrived. Asked between the steps of a command, not while undoing.
  static func check() throws {
    let signal = clinux_caught_signal()
    if signal != 0 {
      // It has been heard: what is undone because of it may wait again, until another signal comes.
      _ = clinux_fresh_signal()
      throw Interruption(signal: signal)
    }
  }

  /// Throws when such a signal has arrived that has interrupted nothing yet. Asked by those who wait for another
  /// process, so that every signal ends one wait, also while undoing.
  static func checkWhileWaiting() throws {
    let signal = clinux_fresh_signal()
    if signal != 0 { throw Interruption(signal: signal) }
  }
}
