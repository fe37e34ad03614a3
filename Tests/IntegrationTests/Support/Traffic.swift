import Foundation
import Testing

/// The protocols that the tests can speak.
enum Transport: String, CaseIterable {
  case tcp
  case udp

  /// The protocol as a specification ends with it: nothing for tcp.
  var suffix: String { self == .tcp ? "" : "/udp" }
}

/// The outcome of one question.
struct Answer: CustomStringConvertible {
  /// How the probe ended; the cases are its exit statuses.
  enum Verdict: Int32 {
    case answered = 0
    case failed = 3
    case refused = 10
    case silent = 11
    case closed = 12
    case unreachable = 13
  }

  let verdict: Verdict
  /// Whether nobody answered. A probe that could not even ask proves nothing, and does not count.
  var isUnanswered: Bool { [.refused, .silent, .closed, .unreachable].contains(verdict) }
  /// The backend that answered.
  let name: String
  /// The source address and port that the backend saw.
  let peer: String
  let peerPort: Int?
  /// The port on which the backend was asked.
  let port: Int?
  /// The line as it came.
  let text: String
  let description: String

  init(_ outcome: Outcome) {
    verdict = Verdict(rawValue: outcome.status) ?? .failed
    text = outcome.lines.first ?? ""
    let fields = text.split(separator: " ")
    name = fields.first.map { String($0) } ?? ""
    peer = fields.count > 1 ? String(fields[1]) : ""
    peerPort = fields.count > 2 ? Int(fields[2]) : nil
    port = fields.count > 3 ? Int(fields[3]) : nil
    description = "\(verdict): \(outcome)"
  }
}

extension Namespace {
  /// Starts a server that lives as long as the test; it listens when this returns.
  @discardableResult
  func serve(
    _ transport: Transport,
    _ address: String,
    _ port: String,
    name: String,
    mode: String = "line",
    at location: SourceLocation = #_sourceLocation
  ) throws -> ChildProcess {
    let server = try start([
      Tools.probe, "serve", transport.rawValue, address, port, "--name", name, "--mode", mode,
    ])
    try #require(
      server.line() == "ready",
      "no server on \(address) \(port): \(server.command)",
      sourceLocation: location
    )
    return server
  }

  /// Serves one port with tcp and udp.
  @discardableResult
  func serveBoth(_ address: String, _ port: String, name: String) throws -> [ChildProcess] {
    try Transport.allCases.map { try serve($0, address, port, name: name) }
  }

  /// Asks once and waits for the answer.
  func ask(
    _ transport: Transport,
    _ address: String,
    _ port: Int,
    timeout: Double = 2,
    _ options: String...
  ) throws -> Answer {
    Answer(try startAsking(transport, address, port, timeout: timeout, options).wait(timeout: timeout + 10))
  }

  /// Asks without waiting for the answer.
  @discardableResult
  func startAsking(
    _ transport: Transport,
    _ address: String,
    _ port: Int,
    timeout: Double,
    _ options: [String] = []
  ) throws -> ChildProcess {
    try start(
      [Tools.probe, "ask", transport.rawValue, address, "\(port)", "--timeout", "\(timeout)"] + options
    )
  }

  /// Sends datagrams without a pause from one source until the backend of that name has answered.
  func startFlooding(_ address: String, _ port: Int, until name: String, timeout: Double) throws
    -> ChildProcess
  {
    try start([Tools.probe, "flood", address, "\(port)", "--until", name, "--timeout", "\(timeout)"])
  }

  /// Tries to take a port as a stranger would: nil when that worked, the error otherwise.
  func bind(_ transport: Transport, _ address: String, _ port: Int, _ options: String...) throws -> String? {
    let outcome = try exec(
      [Tools.probe, "bind", transport.rawValue, address, "\(port)"] + options,
      status: nil
    )
    return outcome.status == 0 ? nil : outcome.stderr
  }
}

extension Namespace {
  /// The number of established TCP connections from here to a port.
  func connections(to port: Int) throws -> Int {
    try exec("ss", "-Htn", "state", "established", "dport = :\(port)").lines.count
  }

  /// The link-local address of one of the links, known as soon as the link is up.
  func linkLocalAddress(_ link: String) throws -> String {
    struct Link: Decodable {
      struct Address: Decodable {
        let local: String
        let scope: String
      }
      let addr_info: [Address]
    }
    let links = try ip("-json", "-6", "addr", "show", "dev", link).json([Link].self)
    return try #require(links.flatMap(\.addr_info).first { $0.scope == "link" }).local
  }
}
