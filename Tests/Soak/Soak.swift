import Foundation

/// The rounds, and what was measured after the first of them and after the last.
final class Soak {
  private let portmap: String
  private let lasting: pid_t
  private var first: Measure?
  private var last: Measure?
  private static let backend = "10.99.0.2"

  /// Rounds after which everything that is made only once has been made.
  private static let warmUp = 20

  init(portmap: String) throws {
    self.portmap = portmap
    try Sandbox.make()
    for command in [
      "ip link add guest type veth peer name eth0 netns guest", "ip link set guest master br0 up",
      "ip -n guest address add 10.99.0.2/24 dev eth0", "ip -n guest link set eth0 up",
      "ip -n guest route add default via 10.99.0.1",
    ] { try Machine.mustRun(command) }
    let me = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    _ = try Machine.start(["ip", "netns", "exec", "guest", me, Traffic.server])
    // The server is there a moment later.
    for _ in 0..<100 where (try? Traffic.ask(Self.backend, 80)) == nil { usleep(20_000) }
    try Machine.mustRun([portmap, "map", "7000:80/tcp+udp", "--to", Self.backend])
    lasting = try Self.holder(portmap, port: 7000)
    // Connections that are over would be remembered for two minutes; the mapping's own are forgotten with it.
    let states = ["fin_wait", "close_wait", "last_ack", "time_wait", "close"].map { "tcp_timeout_" + $0 }
    for name in states + ["udp_timeout", "udp_timeout_stream"] {
      try Machine.mustRun(["sysctl", "-qw", "net.netfilter.nf_conntrack_\(name)=1"])
    }
  }

  func run(_ rounds: Int) throws {
    let begin = Date()
    var process = Measure.Process(lasting)
    for number in 1...rounds {
      try Machine.mustRun([portmap, "map", "8080:80/tcp+udp", "--to", Self.backend])
      // By the rules, then by the proxy; both mappings.
      for port: UInt16 in [8080, 7000] {
        for host in ["10.99.0.1", "127.0.0.1"] {
          try Traffic.ask(host, port)
          try Traffic.ask(host, port, isDatagram: true)
        }
      }
      let isMeasured = number == min(Self.warmUp, rounds / 2) || number == rounds
      if isMeasured { process = Measure.Process(try Self.holder(portmap, port: 8080)) }
      try Machine.mustRun([portmap, "unmap", "8080/tcp+udp"])
      if isMeasured { try measure(process) }
      if number.isMultiple(of: 1000) { say("\(number) rounds, \(Int(Date().timeIntervalSince(begin))) s") }
    }
    say("\(rounds) rounds took \(Int(Date().timeIntervalSince(begin).rounded())) s")
  }

  private func measure(_ round: Measure.Process) throws {
    // Until flows have been forgotten, and the proxy has given back what its clients needed.
    sleep(4)
    let measure = try Measure(lasting: Measure.Process(lasting), round: round)
    if first == nil { first = measure } else { last = measure }
  }

  /// Prints what there was and what there is; whether nothing has grown.
  func report() -> Bool {
    guard let first, let last else { return false }
    var grown = 0
    for (one, other) in zip(first.numbers, last.numbers) {
      let hasGrown = other.value > one.value + slack(one.name, one.value)
      grown += hasGrown ? 1 : 0
      say("\(one.name): \(one.value), at the end \(other.value)\(hasGrown ? ": GROWN" : "")")
    }
    if grown > 0 { say((try? Machine.mustRun("ss -anptu").output) ?? "") }
    say(grown == 0 ? "nothing has grown" : "\(grown) have grown")
    return grown == 0
  }

  /// By how much a number may differ without having grown: memory comes in pages, a connection may be on its way out,
  /// and the state counts its calls in decimal digits.
  private func slack(_ name: String, _ value: Int) -> Int {
    if name.contains("KiB") { return max(64, value / 5) }
    return name.contains("tracked") ? 8 : name.contains("bytes") ? 32 : 0
  }

  /// The background process of a mapping.
  private static func holder(_ portmap: String, port: UInt16) throws -> pid_t {
    struct List: Decodable {
      struct Mapping: Decodable {
        let hostPort: UInt16
        let pid: pid_t
      }
      let mappings: [Mapping]
    }
    let text = try Machine.mustRun([portmap, "list", "--json"]).output
    let list = try JSONDecoder().decode(List.self, from: Data(text.utf8))
    guard let found = list.mappings.first(where: { $0.hostPort == port }) else {
      throw Machine.Trouble("no mapping of port \(port): \(text)")
    }
    return found.pid
  }
}
