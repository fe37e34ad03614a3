/// What the watcher has a pass do.
struct PassJob: Equatable {
  enum Kind: String, CaseIterable {
    /// Everything that is declared is made, and what is declared no more is released.
    case apply
    /// The same, but the state was lost: what is left of it goes first.
    case restart
    /// What is recorded is mended, and what could not be made before is tried again.
    case retry
    /// What is recorded is mended.
    case keep
  }

  let kind: Kind
  /// The ids of background processes that are left dead for the time being: they have died too often.
  var spared: Set<String> = []
  /// Whether there is a state as far as the watcher knows: what comes after its loss is more than this job.
  var expectsState = false
}

extension PassJob {
  /// The hidden command of a pass, and the descriptors that it finds.
  static let command = "pass"
  static let channelDescriptor: Int32 = 3
  static let filesDescriptor: Int32 = 4
  /// The option by which it is told which processes to spare.
  static let sparing = "--spare"
  /// The option by which it is told that there is a state.
  static let expecting = "--expect-state"

  /// The words of its command line.
  var words: [String] {
    [Self.command, kind.rawValue] + (expectsState ? [Self.expecting] : [])
      + spared.sorted().map { "\(Self.sparing)=\($0)" }
  }
}
