import Glibc

/// More descriptors are needed than this user may have.
struct DescriptorLimitError: Error {
  let needed: Int
  let hardLimit: Int
}

/// The number of descriptors that this process, and those that it starts, may have (RLIMIT_NOFILE).
struct DescriptorLimit: Equatable {
  let soft: UInt64
  let hard: UInt64

  /// The limit as the caller of this process has set it.
  static let ofCaller = current

  static var current: DescriptorLimit {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return DescriptorLimit(soft: UInt64(limit.rlim_cur), hard: UInt64(limit.rlim_max))
  }

  /// Sets the limit of this process; false where it may not.
  @discardableResult
  func set() -> Bool {
    var limit = rlimit(rlim_cur: rlim_t(soft), rlim_max: rlim_t(hard))
    return setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
  }

  /// Makes room for `count` descriptors and as many again as connections may want; root raises the hard limit too.
  ///
  /// - Throws: DescriptorLimitError where the hard limit stays below what is needed.
  static func makeRoom(for count: Int) throws(DescriptorLimitError) {
    // Remembered before it changes.
    _ = ofCaller
    let limit = current
    let needed = UInt64(count + margin)
    let wanted = needed + UInt64(forTraffic)
    if limit.hard < wanted, DescriptorLimit(soft: wanted, hard: wanted).set() { return }
    guard limit.hard >= needed else {
      throw DescriptorLimitError(needed: Int(needed), hardLimit: Int(limit.hard))
    }
    if limit.soft < limit.hard { DescriptorLimit(soft: limit.hard, hard: limit.hard).set() }
  }

  /// A command's own files and sockets.
  private static let margin = 64
  /// Two for each proxied connection and one for each UDP client: enough for a busy port on one machine.
  static let forTraffic = 32_768
}
