import CLinux
import Glibc

// The entries of the map that the program on connect(2) looks into. Their layout is what the map's name stands for:
// another layout takes another name.

/// A TCP connection before it is made: the network namespace of the socket, and where it is to go.
struct ConnectKey: Hashable, BitwiseCopyable {
  /// SO_NETNS_COOKIE: no other namespace has the same one until the next boot.
  let namespace: UInt64
  let address: ConnectAddress
  /// In network order, as the kernel shows it to a program.
  let port: UInt32
  let transport: UInt32

  init(namespace: UInt64, _ address: IPAddress, _ port: UInt16) {
    self.namespace = namespace
    self.address = ConnectAddress(address)
    self.port = UInt32(port.bigEndian)
    transport = UInt32(IPPROTO_TCP)
  }

  var portNumber: UInt16 { UInt16(bigEndian: UInt16(truncatingIfNeeded: port)) }
}

/// Where such a connection goes instead, and whose doing that is.
struct ConnectValue: Hashable, BitwiseCopyable {
  let backend: ConnectAddress
  /// How many connections were led; the program counts them.
  private(set) var count: UInt64 = 0
  /// In network order. 0 leaves the connection as it is: more exact than an entry for every address.
  let port: UInt32
  /// The state folder's tag as a number.
  let owner: UInt32
  /// The number of the namespace's inode, by which it is found as long as it is there. Others get it afterwards.
  let inode: UInt32
  private let reserved: UInt32 = 0

  init(_ backend: IPAddress, _ port: UInt16, owner: UInt32, inode: UInt32) {
    self.backend = ConnectAddress(backend)
    self.port = UInt32(port.bigEndian)
    self.owner = owner
    self.inode = inode
  }

  /// Whether it leads to the same, on the same behalf.
  func agrees(with other: ConnectValue) -> Bool {
    leads(where: other) && owner == other.owner && inode == other.inode
  }

  func leads(where other: ConnectValue) -> Bool { backend == other.backend && port == other.port }
}

/// An IPv6 address, or an IPv4 one in IPv6 form, as it is on the network.
struct ConnectAddress: Hashable, BitwiseCopyable {
  let high: UInt64
  let low: UInt64

  init(_ address: IPAddress) {
    let mapped = address.family == .v4 ? address.value | 0xFFFF_0000_0000 : address.value
    high = UInt64(truncatingIfNeeded: mapped >> 64).bigEndian
    low = UInt64(truncatingIfNeeded: mapped).bigEndian
  }
}

/// On whose behalf entries are made: a state folder's, in a network namespace.
struct ConnectOwner: Equatable, Sendable {
  let namespace: UInt64
  let inode: UInt32
  let number: UInt32

  /// The one of this process's namespace.
  ///
  /// - Parameter tag: The state folder's; six hexadecimal digits or nothing.
  init?(tag: String) {
    let cookie = clinux_netns_cookie()
    var status = stat()
    guard cookie != 0, stat("/proc/self/ns/net", &status) == 0 else { return nil }
    self.init(namespace: cookie, inode: UInt32(truncatingIfNeeded: status.st_ino), tag: tag)
  }

  init(namespace: UInt64, inode: UInt32, tag: String) {
    self.namespace = namespace
    self.inode = inode
    // No tag is not the tag 000000.
    number = UInt32(tag, radix: 16).map { $0 | 1 << 24 } ?? 0
  }

  /// The entries of some routes, one a port.
  func entries(of routes: [ConnectRoute]) -> [ConnectKey: ConnectValue] {
    var entries: [ConnectKey: ConnectValue] = [:]
    entries.reserveCapacity(routes.reduce(0) { $0 + $1.ports.ports.count })
    for route in routes {
      for (port, backendPort) in zip(route.ports.ports.ports, route.backendPorts.ports) {
        let key = ConnectKey(namespace: namespace, route.ports.address, port)
        entries[key] = ConnectValue(route.backendIP, backendPort, owner: number, inode: inode)
      }
    }
    return entries
  }

  func keys(of ports: [ConnectPorts]) -> [ConnectKey] {
    ports.flatMap { some in
      some.ports.ports.map { ConnectKey(namespace: namespace, some.address, $0) }
    }
  }

  /// Whether an entry was made on this behalf.
  func made(_ key: ConnectKey, _ value: ConnectValue) -> Bool {
    key.namespace == namespace && value.owner == number
  }
}
