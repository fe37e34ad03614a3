import Glibc

/// More descriptors are needed than this user may have.
struct DescriptorLimitError: Error {
  let needed: Int
  let hardLimit: Int
}

/// The number of descriptors that this process, and those that it starts, may have (RLIMIT_NOFILE).
enum DescriptorLimit {
  /// Makes room for `count` descriptors and as many again as connections may want; root raises the hard limit too.
  ///
  /// - Throws: DescriptorLimitError where the hard limit stays below what is needed.
  static func makeRoom(for count: Int) throws(DescriptorLimitError) {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    let needed = rlim_t(count + margin)
    let wanted = needed + rlim_t(forTraffic)
    if limit.rlim_max < wanted {
      var more = rlimit(rlim_cur: wanted, rlim_max: wanted)
      if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &more) == 0 { return }
    }
    guard limit.rlim_max >= needed else {
      throw DescriptorLimitError(needed: Int(needed), hardLimit: Int(limit.rlim_max))
    }
    if limit.rlim_cur < limit.rlim_max {
      limit.rlim_cur = limit.rlim_max
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
  }

  /// A command's own files and sockets.
  private static let margin = 64
  /// Two for each proxied connection and one for each UDP client: enough for a busy port on one machine.
  static let forTraffic = 32_768
}
