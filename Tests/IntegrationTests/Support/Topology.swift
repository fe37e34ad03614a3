import Foundation
import Testing

/// A machine under test, a client outside of it, and two guests on a bridge inside of it.
///
///     outside 192.0.2.2 ── 192.0.2.1 host 10.99.0.1 (br0) ─┬─ 10.99.0.2 web
///       2001:db8:1::2       2001:db8:1::1  fd00:99::1       └─ 10.99.0.3 other
final class Topology {
  let host: Namespace
  let outside: Namespace
  let web: Namespace
  let other: Namespace
  let folder: String
  /// The program under test in the host's namespace, with a state folder of its own.
  let portmap: Portmap
  let cleanup: Cleanup

  /// The addresses of each.
  enum Address {
    static let host = "192.0.2.1"
    static let host6 = "2001:db8:1::1"
    static let outside = "192.0.2.2"
    static let outside6 = "2001:db8:1::2"
    static let bridge = "10.99.0.1"
    static let bridge6 = "fd00:99::1"
    static let web = "10.99.0.2"
    static let web6 = "fd00:99::2"
    static let other = "10.99.0.3"
    static let other6 = "fd00:99::3"
  }

  fileprivate init(_ cleanup: Cleanup) throws {
    self.cleanup = cleanup
    folder = try makeFolder(cleanup)
    host = try Namespace("h", cleanup)
    outside = try Namespace("o", cleanup)
    web = try Namespace("w", cleanup)
    other = try Namespace("g", cleanup)
    portmap = Portmap(host, state: folder + "/state", cleanup)
    try host.ip(batch: [
      "link add eth0 type veth peer name eth0 netns \(outside.name)",
      "addr add \(Address.host)/24 dev eth0",
      "addr add \(Address.host6)/64 dev eth0 nodad",
      "link set eth0 up",
      "link add br0 type bridge",
      "addr add \(Address.bridge)/24 dev br0",
      "addr add \(Address.bridge6)/64 dev br0 nodad",
      "link set br0 up",
    ])
    try outside.ip(batch: [
      "addr add \(Address.outside)/24 dev eth0",
      "addr add \(Address.outside6)/64 dev eth0 nodad",
      "link set eth0 up",
      "route add default via \(Address.host)",
      "route add ::/0 via \(Address.host6)",
    ])
    try plug(web, "web", Address.web, Address.web6)
    try plug(other, "other", Address.other, Address.other6)
  }

  private func plug(_ guest: Namespace, _ port: String, _ v4: String, _ v6: String) throws {
    try host.ip(batch: [
      "link add \(port) type veth peer name eth0 netns \(guest.name)",
      "link set \(port) master br0 up",
    ])
    try guest.ip(batch: [
      "addr add \(v4)/24 dev eth0",
      "addr add \(v6)/64 dev eth0 nodad",
      "link set eth0 up",
      "route add default via \(Address.bridge)",
      "route add ::/0 via \(Address.bridge6)",
    ])
  }

  /// The program as an ordinary user runs it, with a runtime folder of the user's own.
  func ordinaryUser() throws -> Portmap {
    var user = portmap
    let runtime = folder + "/runtime"
    try FileManager.default.createDirectory(
      atPath: runtime,
      withIntermediateDirectories: false,
      attributes: [.posixPermissions: 0o700, .ownerAccountID: 65000, .groupOwnerAccountID: 65000]
    )
    user.state = ""
    user.environment = ["XDG_RUNTIME_DIR": runtime]
    user.prefix = Tools.ordinaryUser
    user.binary = try readableBinary()
    return user
  }

  /// A copy of the program that ordinary users can run, wherever the original lies.
  func readableBinary() throws -> String {
    let copy = folder + "/portmap"
    // By another process: a program that this one had open for writing, a child of it could still have open.
    try run(["sh", "-c", "ln \"$0\" \"$1\" 2>/dev/null || cp \"$0\" \"$1\"", Tools.portmap, copy])
    return copy
  }

  /// Sends bridged packets through iptables, or past it.
  func setBridgeNetfilter(_ on: Bool) throws {
    let value = on ? 1 : 0
    try host.setSysctl(
      "net.bridge.bridge-nf-call-iptables=\(value)",
      "net.bridge.bridge-nf-call-ip6tables=\(value)"
    )
  }
}

/// Makes the topology for one test and removes it afterwards, however the test ends.
func withTopology(_ body: (Topology) throws -> Void) throws {
  let cleanup = Cleanup()
  defer { cleanup.run() }
  try body(Topology(cleanup))
}

/// Makes just one namespace with a state folder, for tests without traffic.
func withHost(_ body: (Portmap, Namespace) throws -> Void) throws {
  let cleanup = Cleanup()
  defer { cleanup.run() }
  let folder = try makeFolder(cleanup)
  let host = try Namespace("h", cleanup)
  try body(Portmap(host, state: folder + "/state", cleanup), host)
}

/// Makes a temporary folder that others can pass through but not write to.
func makeFolder(_ cleanup: Cleanup) throws -> String {
  let path = "/tmp/portmap-test-" + UUID().uuidString.prefix(13).lowercased()
  cleanup.add {
    if FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
  }
  try FileManager.default.createDirectory(
    atPath: path,
    withIntermediateDirectories: false,
    attributes: [.posixPermissions: 0o755]
  )
  return path
}
