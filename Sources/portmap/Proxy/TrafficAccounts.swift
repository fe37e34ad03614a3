import Glibc

// What has gone through: an account for each group of served sockets (a mapping). The proxy is one thread, which also
// answers those who ask, so an account is plain numbers. They are added to where the relays have just made a system
// call: once for what one turn has moved of a connection, once for a datagram that came in. A group that nobody has
// used has no account, and costs nothing.

/// The account of one group: what it has carried, and what it could not.
final class TrafficAccount {
  private(set) var count = ProxyCount()

  /// A client is taken on; `end` has to follow.
  func begin() {
    count.clients &+= 1
    count.open &+= 1
  }

  func end() { count.open &-= 1 }

  /// Bytes have come from the client.
  func carriedIn(_ bytes: UInt64) { count.bytesIn &+= bytes }

  /// Bytes have come from the backend.
  func carriedOut(_ bytes: UInt64) { count.bytesOut &+= bytes }

  /// The backend could not be reached, or broke off.
  ///
  /// - Parameter isNew: Whether it counts, besides being the last one from now on.
  func fail(_ errno: Int32, isNew: Bool = true) {
    if isNew { count.failed &+= 1 }
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    count.lastFailure = ProxyFailure(errno: errno, time: Int64(now.tv_sec))
  }
}

/// The accounts of all groups that have been used.
final class TrafficAccounts {
  private var accounts: [Int: TrafficAccount] = [:]

  /// The account of a group, which begins with the first use of it.
  subscript(group: Int) -> TrafficAccount {
    if let known = accounts[group] { return known }
    let account = TrafficAccount()
    accounts[group] = account
    return account
  }

  /// What a group has carried; nil where nobody has used it.
  func count(of group: Int) -> ProxyCount? { accounts[group]?.count }

  /// Forgets groups.
  func remove(where matches: (Int) -> Bool) {
    accounts = accounts.filter { !matches($0.key) }
  }
}
