/// What portmap writes into the alias of a link that it has made: whose it is, and for a guest's link the address and
/// name, so that they can be told should the state be lost. `portmap`, `portmap-3fa9c1`, `portmap:172.16.42.2:web`.
struct LinkAlias: Equatable, CustomStringConvertible {
  let owner: String
  var guest: Guest?

  struct Guest: Equatable {
    let address: IPAddress
    let name: String
  }

  init(tag: String, guest: Guest? = nil) {
    owner = tag.isEmpty ? "portmap" : "portmap-\(tag)"
    self.guest = guest
  }

  /// Nil for an alias that is not portmap's.
  init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts[0] == "portmap" || parts[0].hasPrefix("portmap-") else { return nil }
    owner = String(parts[0])
    if parts.count == 3, let address = IPAddress(parts[1]) {
      guest = Guest(address: address, name: String(parts[2]))
    } else if parts.count > 1 {
      return nil
    }
  }

  var description: String { guest.map { "\(owner):\($0.address):\($0.name)" } ?? owner }
}
