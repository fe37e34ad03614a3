import Foundation

/// What is there at one moment, in numbers.
struct Measure {
  let numbers: [(name: String, value: Int)]

  /// - Parameter lasting: The process that stays through all rounds.
  /// - Parameter round: The one that the last round has made, while it still served.
  init(lasting: Process, round: Process) throws {
    numbers = [
      ("rules", try Self.lines("iptables-save", prefix: "-A") + Self.lines("ip6tables-save", prefix: "-A")),
      ("chains", try Self.lines("iptables-save", prefix: ":") + Self.lines("ip6tables-save", prefix: ":")),
      // Not the kernel's counter, which includes what has expired and waits to be collected.
      ("tracked connections", try Self.lines("conntrack", "-L", prefix: "") - 1),
      ("bytes of the state file", Machine.contents(of: "/run/portmap/state.json").utf8.count),
      ("files in the state folder", Machine.names(in: "/run/portmap").count),
      ("processes", Machine.processes().count),
      ("lasting process: descriptors", lasting.descriptors),
      ("lasting process: KiB of its own", lasting.memory),
      ("round's process: descriptors", round.descriptors),
      ("round's process: KiB of its own", round.memory),
    ]
  }

  /// A background process, as it was when it was looked at.
  struct Process {
    let descriptors: Int
    /// Anonymous memory in KiB.
    let memory: Int

    init(_ pid: pid_t) {
      descriptors = Machine.names(in: "/proc/\(pid)/fd").count
      let lines = Machine.contents(of: "/proc/\(pid)/smaps_rollup").split(separator: "\n")
      memory = lines.first { $0.hasPrefix("Anonymous:") }.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }
  }

  private static func lines(_ words: String..., prefix: String) throws -> Int {
    try Machine.mustRun(words).output.split(separator: "\n").count { $0.hasPrefix(prefix) }
  }
}
