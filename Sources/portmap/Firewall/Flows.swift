import Glibc

/// The flows that the kernel tracks since before a mapping came or went: they would go on as they did, past the rules
/// that are there now.
///
/// All are listed once, those to the mapping's ports at the host's own addresses are picked out, and just these are
/// deleted, each by its tuple and its id: a deletion by port alone would cut strangers' flows that only pass through.
/// The kernel finds each by its hash, however many there are.
///
/// The dump is complete on every kernel. Between two of its parts it remembers the flow that comes next, by a reference
/// and since Linux 6.17 by its id, and where that one is gone it begins anew with the same bucket of its table. So what
/// is there from the beginning to the end is listed, some of it twice.
enum Flows {
  /// Deletes the flows that any filter matches.
  ///
  /// - Parameter isLocal: Whether packets to an address end on this host.
  /// - Throws: SystemError where the kernel does not list or delete them.
  static func delete(matching filters: [FlowFilter], isLocal: (IPAddress) -> Bool) throws {
    let filters = FlowFilters(filters)
    let count = Files.word(of: "/proc/sys/net/netfilter/nf_conntrack_count").flatMap { Int($0) }
    guard !filters.isEmpty, count != 0, !isWithoutMatch(filters, count) else { return }
    do {
      try Netlink.withClient { try delete(matching: filters, isLocal: isLocal, $0) }
    } catch let error as SystemError where count == nil && isMissing(error) {
      // Nothing is tracked where there is no conntrack.
      return
    }
  }

  /// Whether the kernel's own file shows, without a dump, that no flow matches: a dump takes a lock for each bucket of
  /// the kernel's table, 11 ms for the 262,144 that machines of more than 4 GB have, and so `map` would be twice as
  /// slow for nothing. Where thousands are tracked the file takes as long.
  private static func isWithoutMatch(_ filters: FlowFilters, _ count: Int?) -> Bool {
    guard let count, count < 1000, isFileWhole(Files.word(of: "/proc/sys/kernel/osrelease") ?? ""),
      let list = Files.contents(of: "/proc/net/nf_conntrack")
    else { return false }
    return !filters.mayMatch(list: list)
  }

  /// Whether a kernel of this release shows all flows in its file. Up to Linux 6.15 each read(2) finds its place by
  /// counting entries from the start of the table, and leaves out as many as have expired in the meantime.
  static func isFileWhole(_ release: String) -> Bool {
    let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).map { Int($0) ?? 0 }
    return !numbers.lexicographicallyPrecedes([6, 16])
  }

  private static func delete(
    matching filters: FlowFilters,
    isLocal: (IPAddress) -> Bool,
    _ client: Netlink
  ) throws {
    var deletions: [NetlinkRequest] = []
    try client.request(Flow.dump) { message in
      guard let flow = Flow(message), filters.matches(flow), isLocal(flow.destination) else { return }
      deletions.append(Flow.deletion(message))
    }
    // One that has ended by itself meanwhile is no failure.
    if let refusal = try client.request(deletions).first(where: { $0 != ENOENT }) {
      throw SystemError(call: "netlink", errno: refusal)
    }
  }

  /// Whether an error says that the kernel has no conntrack that netlink could ask.
  private static func isMissing(_ error: SystemError) -> Bool {
    [EINVAL, EPROTONOSUPPORT, EAFNOSUPPORT].contains(error.errno)
  }
}
