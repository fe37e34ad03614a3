import Foundation

/// The network namespace that everything is mapped to, with a server on port 80.
enum Guest {
  static let address = "10.99.0.2"
  static let addressV6 = "fd00:99::2"

  static func start() throws {
    for command in [
      "ip link add guest type veth peer name eth0 netns guest", "ip link set guest master br0 up",
      "ip address add fd00:99::1/64 dev br0 nodad",
      "ip -n guest address add 10.99.0.2/24 dev eth0", "ip -n guest address add fd00:99::2/64 dev eth0 nodad",
      "ip -n guest link set eth0 up", "ip -n guest route add default via 10.99.0.1",
    ] { try Machine.mustRun(command) }
    let me = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    _ = try Machine.start(["ip", "netns", "exec", "guest", me, Traffic.server])
    // The server is there a moment later.
    for _ in 0..<100 where (try? Traffic.ask(address, 80)) == nil { usleep(20_000) }
  }

  /// Connections that are over would be remembered for two minutes; the mapping's own are forgotten with it.
  static func forgetFlowsAtOnce() throws {
    let states = ["fin_wait", "close_wait", "last_ack", "time_wait", "close"].map { "tcp_timeout_" + $0 }
    for name in states + ["udp_timeout", "udp_timeout_stream"] {
      try Machine.mustRun(["sysctl", "-qw", "net.netfilter.nf_conntrack_\(name)=1"])
    }
  }
}

/// A mapping, as `list --json` shows it.
struct Mapped: Decodable {
  let hostPort: UInt16
  let pid: pid_t

  static func all(_ portmap: String) throws -> [Mapped] {
    struct List: Decodable { let mappings: [Mapped] }
    let text = try Machine.mustRun([portmap, "list", "--json"]).output
    return try JSONDecoder().decode(List.self, from: Data(text.utf8)).mappings
  }
}

/// What a run ends with.
enum Report {
  /// Prints what there was and what there is; whether nothing has grown. Where something has, what is open is printed
  /// too, by those processes and by all.
  static func compare(_ first: Measure, _ last: Measure, openBy pids: [pid_t]) -> Bool {
    let grown = last.grown(since: first)
    for (one, other) in zip(first.numbers, last.numbers) {
      say("\(one.name): \(one.value), at the end \(other.value)\(grown.contains(one.name) ? ": GROWN" : "")")
    }
    if !grown.isEmpty {
      for pid in pids { say((try? Machine.mustRun("ls -l /proc/\(pid)/fd").output) ?? "") }
      say((try? Machine.mustRun("ss -anptux").output) ?? "")
    }
    say(grown.isEmpty ? "nothing has grown" : "\(grown.count) have grown")
    return grown.isEmpty
  }
}
