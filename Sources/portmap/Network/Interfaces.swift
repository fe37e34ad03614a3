import Glibc

/// The host's own addresses, from getifaddrs(3).
struct Interfaces {
  struct Entry: Equatable {
    let name: String
    let subnet: Subnet
  }

  let entries: [Entry]

  init(_ entries: [Entry]) {
    self.entries = entries
  }

  /// Those of this network namespace as they are now.
  static func current() throws(SystemError) -> Interfaces {
    var first: UnsafeMutablePointer<ifaddrs>?
    try syscall("getifaddrs") { getifaddrs(&first) }
    defer { freeifaddrs(first) }
    var entries: [Entry] = []
    for entry in sequence(first: first, next: { $0?.pointee.ifa_next }) {
      guard let entry = entry?.pointee, let address = entry.ifa_addr.flatMap({ SocketAddress($0) }),
        let mask = entry.ifa_netmask.flatMap({ maskBits($0) }),
        let subnet = Subnet(address.ip, prefixLength: mask)
      else { continue }
      entries.append(Entry(name: String(cString: entry.ifa_name), subnet: subnet))
    }
    return Interfaces(entries)
  }

  private static func maskBits(_ mask: UnsafeMutablePointer<sockaddr>) -> Int? {
    SocketAddress(mask)?.ip.value.nonzeroBitCount
  }

  /// Whether packets to an address end on this host: its own addresses, and all of 127.0.0.0/8.
  func isLocal(_ address: IPAddress) -> Bool {
    address.isLoopback || entries.contains { $0.subnet.address == address }
  }

  /// Whether a port on `host` and the same port of `backend` are one and the same, so that what comes in there would
  /// be led back to where it came in.
  func isSame(_ host: HostAddress, _ backend: IPAddress) -> Bool {
    host.overlaps(.one(backend)) && isLocal(backend)
  }

  /// The narrowest network that the host shares with an address; nil where there is a router in between.
  func subnet(of address: IPAddress) -> Subnet? { neighbourhood(of: address)?.subnet }

  /// The interface through which that network is reached.
  func link(towards address: IPAddress) -> String? { neighbourhood(of: address)?.name }

  private func neighbourhood(of address: IPAddress) -> Entry? {
    entries.filter { $0.subnet.contains(address) && $0.subnet.prefixLength < address.family.bits }
      .max { $0.subnet.prefixLength < $1.subnet.prefixLength }
  }
}
