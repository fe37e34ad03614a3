import Foundation

/// Two hundred mappings of all kinds and a few reservations, and questions to all of them for hours: nothing may grow.
///
/// Some connections stay open from the first minute to the last, and ask again in each round.
final class SteadyLoad {
  private let portmap: String
  private var questions: [Question] = []
  private var lasting: [Traffic.Connection] = []
  private var first: Measure?
  private var last: Measure?

  /// What is asked again and again.
  private struct Question {
    let host: String
    let port: UInt16
    let isDatagram: Bool
  }

  init(portmap: String) throws {
    self.portmap = portmap
    try Sandbox.make()
    try Guest.start()
    try Guest.forgetFlowsAtOnce()
    let (proxied, everywhere) = (["127.0.0.1"], ["10.99.0.1", "127.0.0.1"])
    try map(10_000, count: 30, asking: everywhere)
    try map(10_100, count: 10, ["--masquerade"], asking: everywhere)
    try map(10_200, count: 15, ["--proxy-only"], asking: everywhere)
    try map(10_300, count: 10, ["--no-proxy"], asking: ["10.99.0.1"])
    try map(10_400, count: 10, host: "127.0.0.1:", asking: proxied)
    try map(10_500, count: 10, host: "10.99.0.1:", asking: ["10.99.0.1"])
    try map(10_600, count: 5, to: Guest.addressV6, asking: proxied)
    try map(11_000, count: 10, width: 100, asking: everywhere)
    try Machine.mustRun([portmap, "alloc", "-c10"])
    try Machine.mustRun([portmap, "alloc", "--lend"])
    lasting = try questions.filter { !$0.isDatagram }.prefix(100).map {
      try Traffic.Connection($0.host, $0.port)
    }
  }

  /// Maps so many ports, or ranges of so many ports, from one on, by one call.
  private func map(
    _ from: Int,
    count: Int,
    width: Int = 1,
    host: String = "",
    _ options: [String] = [],
    to backend: String = Guest.address,
    asking hosts: [String]
  ) throws {
    let ports = (0..<count).map { from + $0 * width }
    let specs = ports.map { port in
      let (frontend, backend) =
        width == 1 ? ("\(port)", "80") : ("\(port)-\(port + width - 1)", "80-\(79 + width)")
      return "\(host)\(frontend):\(backend)/tcp+udp"
    }
    try Machine.mustRun([portmap, "map", "--to", backend] + options + specs)
    for port in ports {
      for host in hosts {
        for isDatagram in [false, true] {
          questions.append(Question(host: host, port: UInt16(port), isDatagram: isDatagram))
        }
      }
    }
  }

  /// Asks until so many seconds have passed. What there is counts from the second minute on.
  func run(_ seconds: Int) throws {
    say("\(try Mapped.all(portmap).count) mappings, \(lasting.count) lasting connections")
    let begin = Date()
    let warmUp = min(120, Double(seconds) / 4)
    var (asked, said) = (0, 0)
    while case let passed = Date().timeIntervalSince(begin), passed < Double(seconds) {
      if first == nil, passed > warmUp { first = try measure() }
      if Int(passed) / 600 > said {
        said += 1
        say("\(said * 10) min, \(asked) questions")
      }
      for question in questions {
        try Traffic.ask(question.host, question.port, isDatagram: question.isDatagram)
        asked += 1
        usleep(2000)
      }
      for connection in lasting { try connection.ask() }
      asked += lasting.count
    }
    last = try measure()
    say("\(asked) questions in \(seconds) s, each answered")
    try Machine.mustRun([portmap, "check"])
  }

  private func measure() throws -> Measure {
    // Until flows have been forgotten.
    sleep(4)
    let pids = Set(try Mapped.all(portmap).map(\.pid)).filter { $0 > 0 }.sorted()
    return try Measure(pids.enumerated().map { ("process \($0.offset + 1)", Measure.Process($0.element)) })
  }

  /// Prints what there was and what there is; whether nothing has grown.
  func report() -> Bool {
    guard let first, let last else { return false }
    return Report.compare(first, last, openBy: [])
  }
}
