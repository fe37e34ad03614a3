import Foundation
import Testing

/// What a namespace looks like from outside of portmap, to compare before and after.
struct Snapshot: Equatable {
  let rules: [String]
  let rules6: [String]
  let links: [String]
}

extension Namespace {
  func snapshot() throws -> Snapshot {
    Snapshot(rules: try rules(), rules6: try rules6(), links: try links())
  }

  /// Expects the rules and links of an earlier snapshot, and no process but those given.
  func expectUnchanged(
    _ before: Snapshot,
    processes: [pid_t] = [],
    at location: SourceLocation = #_sourceLocation
  ) throws {
    #expect(try snapshot() == before, sourceLocation: location)
    #expect(try self.processes() == processes, sourceLocation: location)
  }

  /// The IPv4 rules without comments, counters and empty tables.
  func rules() throws -> [String] {
    normalise(try exec("iptables-save").lines)
  }

  func rules6() throws -> [String] {
    normalise(try exec("ip6tables-save").lines)
  }

  /// The names of the links.
  func links() throws -> [String] {
    struct Link: Decodable { let ifname: String }
    return try ip("-json", "link", "show").json([Link].self).map(\.ifname).sorted()
  }

  /// The tags of portmap's chains, one a chain: what stands behind `PORTMAP-`.
  func tags() throws -> [String] {
    (try rules() + rules6()).filter { $0.hasPrefix(":PORTMAP") }
      .map { String($0.dropFirst(":PORTMAP-".count).prefix(6)) }
  }

  /// The DNAT rules of both families.
  func translations() throws -> [String] {
    (try rules() + rules6()).filter { $0.contains("-j DNAT") }
  }

  /// The sockets that hold a local port: their inodes, listening ones only for tcp.
  func sockets(_ transport: Transport, _ port: Int) throws -> Set<String> {
    let name = transport.rawValue
    let suffix = ":" + String(format: "%04X", port)
    var inodes: Set<String> = []
    for line in try exec("cat", "/proc/net/\(name)", "/proc/net/\(name)6").lines {
      let fields = line.split(separator: " ")
      // local address, remote address, state, …, inode; 0A is LISTEN, 07 an unconnected datagram socket.
      guard fields.count > 9, fields[1].hasSuffix(suffix), fields[3] == (transport == .tcp ? "0A" : "07")
      else {
        continue
      }
      inodes.insert(String(fields[9]))
    }
    return inodes
  }
}

private func normalise(_ lines: [String]) -> [String] {
  var result: [String] = []
  var table: [String] = []
  for line in lines where !line.hasPrefix("#") {
    if line != "COMMIT" {
      table.append(line.replacing(#/ \[\d+:\d+\]$/#, with: ""))
      continue
    }
    // The table's name, and chains that do nothing: looking alone makes such tables.
    if !table.dropFirst().allSatisfy({ $0.hasPrefix(":") && $0.hasSuffix(" ACCEPT") }) { result += table }
    table = []
  }
  return result
}
