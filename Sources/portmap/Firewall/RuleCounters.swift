import CLinux

/// The packets that DNAT rules have counted: of each connection the first one only, which is all that the nat table
/// sees. They are the kernel's own, and stand in front of each rule in `iptables-save --counters`.
enum RuleCounters {
  /// Adds up the counters of the rules that lead somewhere, by the ids in their comments.
  ///
  /// - Parameters:
  ///   - saved: What `iptables-save --counters` has printed. There may be thousands of rules, so it stays bytes.
  ///   - prefix: The beginning of the comments of a folder's rules.
  static func led(in saved: [UInt8], prefix: String) -> [String: UInt64] {
    let prefix = Array(prefix.utf8)
    let target = Array(" -j DNAT ".utf8)
    var counts: [String: UInt64] = [:]
    saved.withUnsafeBytes { all in
      var rest = all[...]
      while !rest.isEmpty {
        let line = UnsafeRawBufferPointer(rebasing: rest.prefix { $0 != UInt8(ascii: "\n") })
        rest = rest.dropFirst(line.count + 1)
        guard let packets = packets(line), find(target, in: line) != nil, let place = find(prefix, in: line)
        else { continue }
        let id = line[place...].dropFirst(prefix.count).prefix(8)
        counts[String(decoding: id, as: UTF8.self), default: 0] &+= packets
      }
    }
    return counts
  }

  /// The number of packets at the head of a rule: `[5:300] -A …`.
  private static func packets(_ line: UnsafeRawBufferPointer) -> UInt64? {
    guard line.first == UInt8(ascii: "["), let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
      return nil
    }
    return UInt64(String(decoding: line[1..<colon], as: UTF8.self))
  }

  private static func find(_ needle: [UInt8], in line: UnsafeRawBufferPointer) -> Int? {
    guard let base = line.baseAddress, let found = clinux_find(base, line.count, needle, needle.count) else {
      return nil
    }
    return found - base
  }
}

extension Firewall {
  /// Starts to read the counters of the nat tables of some families, side by side.
  func startCounting(_ families: [IPAddress.Family]) -> [Result<
    (name: String, program: RunningProgram), any Error
  >] {
    families.map { family in
      let name = program(family, "save")
      return Result {
        (name, try runner.start(name, ["--counters", "-t", Rule.Table.nat.rawValue], text: nil, input: nil))
      }
    }
  }
}
