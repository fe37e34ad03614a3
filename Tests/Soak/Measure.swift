import Foundation

/// What is there at one moment, in numbers.
struct Measure {
  let numbers: [(name: String, value: Int)]

  /// - Parameter processes: Background processes, by what they are called in the report.
  init(_ processes: [(name: String, process: Process)]) throws {
    numbers =
      [
        ("rules", try Self.lines("iptables-save", prefix: "-A") + Self.lines("ip6tables-save", prefix: "-A")),
        ("chains", try Self.lines("iptables-save", prefix: ":") + Self.lines("ip6tables-save", prefix: ":")),
        // Not the kernel's counter, which includes what has expired and waits to be collected.
        ("tracked connections", try Self.lines("conntrack", "-L", prefix: "") - 1),
        ("bytes of the state file", Machine.contents(of: "/run/portmap/state.json").utf8.count),
        ("files in the state folder", Machine.names(in: "/run/portmap").count),
        ("processes", Machine.processes().count),
      ]
      + processes.flatMap { name, process in
        [
          ("\(name): descriptors", process.descriptors),
          ("\(name): KiB of its own", process.memory),
        ]
      }
  }

  /// The names of what has grown since another measurement.
  func grown(since first: Measure) -> [String] {
    zip(first.numbers, numbers).filter { $1.value > $0.value + Self.slack($0.name, $0.value) }.map(\.0.name)
  }

  /// By how much a number may differ without having grown: memory comes in pages, a connection may be on its way out,
  /// and the state counts its calls in decimal digits.
  private static func slack(_ name: String, _ value: Int) -> Int {
    if name.contains("KiB") { return max(64, value / 5) }
    return name.contains("tracked") ? 8 : name.contains("bytes") ? 32 : 0
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
