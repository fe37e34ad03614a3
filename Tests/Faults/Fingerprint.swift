import Foundation

/// Everything that portmap can leave behind, in words that are the same for two runs of one command.
struct Fingerprint: Equatable {
  /// Files that stay for good once they are there.
  private static let lasting = ["lock", "spare", "state.json"]

  private let parts: [(name: String, lines: [String])]

  static func == (one: Fingerprint, other: Fingerprint) -> Bool {
    one.parts.map(\.lines) == other.parts.map(\.lines)
  }

  init(portmap: String) throws {
    parts = [
      ("iptables-save", try Self.rules("iptables-save")),
      ("ip6tables-save", try Self.rules("ip6tables-save")),
      ("links", try Self.lines("ip -o link") + Self.lines("ip -n guest -o link")),
      ("addresses", try Self.lines("ip -o address") + Self.lines("ip -n guest -o -4 address")),
      ("routes of the guest", try Self.lines("ip -n guest -4 route")),
      ("processes", Machine.processes().map(\.name).sorted()),
      ("ports", ["tcp", "tcp6", "udp", "udp6"].flatMap(Self.ports)),
      ("files", Machine.names(in: "/run/portmap").filter { !Self.lasting.contains($0) }.map(Self.withoutIDs)),
      ("list", try Self.list(portmap)),
    ]
  }

  /// What differs, a line each.
  func differences(from other: Fingerprint) -> [String] {
    zip(parts, other.parts).flatMap { mine, theirs -> [String] in
      if mine.lines == theirs.lines { return [] }
      let more = mine.lines.filter { !theirs.lines.contains($0) }.map { "    \(mine.name): + \($0)" }
      let less = theirs.lines.filter { !mine.lines.contains($0) }.map { "    \(mine.name): - \($0)" }
      return more + less + (more.isEmpty && less.isEmpty ? ["    \(mine.name): other order or number"] : [])
    }
  }

  /// Without comments, counters, and tables in which nothing is.
  private static func rules(_ program: String) throws -> [String] {
    var result: [String] = []
    var table: [String] = []
    for line in try Machine.mustRun([program]).output.split(separator: "\n") where !line.hasPrefix("#") {
      if line != "COMMIT" {
        table.append(withoutIDs(String(line).replacing(#/ \[\d+:\d+\]$/#, with: "")))
        continue
      }
      if !table.dropFirst().allSatisfy({ $0.hasPrefix(":") && $0.hasSuffix(" ACCEPT") }) { result += table }
      table = []
    }
    return result
  }

  private static func lines(_ command: String) throws -> [String] {
    try Machine.mustRun(command).output.split(separator: "\n")
      // Numbers of links, hardware addresses, and what follows from either.
      .map {
        String($0).replacing(#/^\d+: |@if\d+|@\S+:|link-netns.*|link\/.*|inet6 fe80.*|valid_lft.*/#, with: "")
      }
      .map {
        $0.replacing(#/state \S+|qdisc \S+|qlen \d+|NO-CARRIER,|,?LOWER_UP|-[a-f][0-9a-f]{7}/#, with: "")
      }
      .filter { !$0.contains("tentative") }.sorted()
  }

  /// The ports that are held: listening, bound, or unconnected datagram sockets.
  private static func ports(_ name: String) -> [String] {
    Machine.contents(of: "/proc/net/\(name)").split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 3, ["0A", "07"].contains(fields[3]) else { return nil }
      return "\(name) \(fields[1]) \(fields[3])"
    }.sorted()
  }

  private static func list(_ portmap: String) throws -> [String] {
    let text = try Machine.mustRun([portmap, "list", "--json"]).output
    return text.replacing(#/"pid":\d+/#, with: "\"pid\":0").split(separator: ",").map { withoutIDs("\($0)") }
  }

  private static func withoutIDs(_ text: String) -> String {
    text.replacing(#/\b[a-f][0-9a-f]{7}\b/#.wordBoundaryKind(.simple), with: "ID")
  }
}
