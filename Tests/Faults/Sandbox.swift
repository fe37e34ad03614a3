import Foundation

/// A machine of its own: private network, process numbers, /run; a bridge of somebody else's and an address on it
/// to map to, and a network namespace to plug in.
enum Sandbox {
  static func make() throws {
    // Nothing of what is mounted here is seen outside.
    guard mount("none", "/", nil, UInt(MS_REC) | UInt(MS_PRIVATE), nil) == 0,
      mount("tmpfs", "/run", "tmpfs", 0, "mode=755") == 0
    else { throw Machine.Trouble("mount: \(String(cString: strerror(errno)))") }
    for path in ["/run/netns", Machine.folder] {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    for command in [
      "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0", "ip link set lo up",
      "ip link add br0 type bridge", "ip address add 10.99.0.1/24 dev br0", "ip link set br0 up",
      "ip netns add guest", "ip -n guest link set lo up",
    ] { try Machine.mustRun(command) }
  }
}
