import Foundation

/// The rounds, and what was measured after the first of them and after the last.
final class Soak {
  private let portmap: String
  private let lasting: pid_t
  private var first: Measure?
  private var last: Measure?

  /// Rounds after which everything that is made only once has been made.
  private static let warmUp = 20

  init(portmap: String) throws {
    self.portmap = portmap
    try Sandbox.make()
    try Guest.start()
    try Machine.mustRun([portmap, "map", "7000:80/tcp+udp", "--to", Guest.address])
    lasting = try Self.holder(portmap, port: 7000)
    try Guest.forgetFlowsAtOnce()
  }

  func run(_ rounds: Int) throws {
    let begin = Date()
    var process = Measure.Process(lasting)
    for number in 1...rounds {
      try Machine.mustRun([portmap, "map", "8080:80/tcp+udp", "--to", Guest.address])
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
    let measure = try Measure([
      ("lasting process", Measure.Process(lasting)), ("round's process", round),
    ])
    if first == nil { first = measure } else { last = measure }
  }

  /// Prints what there was and what there is; whether nothing has grown.
  func report() -> Bool {
    guard let first, let last else { return false }
    return Report.compare(first, last, openBy: [lasting])
  }

  /// The background process of a mapping.
  private static func holder(_ portmap: String, port: UInt16) throws -> pid_t {
    let mappings = try Mapped.all(portmap)
    guard let found = mappings.first(where: { $0.hostPort == port }) else {
      throw Machine.Trouble("no mapping of port \(port): \(mappings)")
    }
    return found.pid
  }
}
