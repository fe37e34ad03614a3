/// A pool of the addresses of a bridge network that can be given to guests.
///
/// Fresh addresses come first, upward from the last that was given out; when all have been given out once, the one that
/// was released first is next. The network's, the broadcast and the bridge's own address are never given out.
struct AddressPool {
  let subnet: Subnet
  /// Addresses that are given out, or known to be somebody's.
  let taken: Set<IPAddress>
  let cursor: IPAddress?
  /// Released addresses in the order of their release.
  let freed: [IPAddress]

  /// The next address; nil when all are taken.
  func next() -> IPAddress? {
    let first = subnet.network.value + 1
    // IPv4's last address is the broadcast's; IPv6 has none.
    let last = subnet.last.value - (subnet.address.family == .v4 ? 1 : 0)
    guard first <= last else { return nil }
    let begin = cursor.map { max(first, $0.value + 1) } ?? first
    if let fresh = search(begin, last) { return fresh }
    return freed.first { isFree($0) } ?? search(first, last)
  }

  private func search(_ low: UInt128, _ high: UInt128) -> IPAddress? {
    var value = low
    while value <= high {
      let address = IPAddress(family: subnet.address.family, value: value)
      if isFree(address) { return address }
      value += 1
    }
    return nil
  }

  private func isFree(_ address: IPAddress) -> Bool {
    subnet.contains(address) && address != subnet.address && !taken.contains(address)
  }
}
