import Glibc

/// The kernel's check of where packets come from (rp_filter, ip-sysctl): strict, it drops what comes in by another
/// interface than the one that leads back to its source.
enum ReversePath {
  /// How many packets of this network namespace it has dropped; nil where the kernel does not tell.
  static func dropped() -> Int? { dropped(in: Files.contents(of: "/proc/net/netstat") ?? []) }

  /// Reads the file's pairs of lines: names, then numbers.
  static func dropped(in table: [UInt8]) -> Int? {
    let lines = String(decoding: table, as: UTF8.self).split(separator: "\n").filter {
      $0.hasPrefix("TcpExt:")
    }
    guard lines.count >= 2 else { return nil }
    let names = lines[0].split(separator: " ")
    let numbers = lines[1].split(separator: " ")
    guard let place = names.firstIndex(of: "IPReversePathFilter"), place < numbers.count else { return nil }
    return Int(numbers[place])
  }

  /// The interfaces where it is strict, but for one: the larger of an interface's own setting and that of all counts.
  static func strictLinks(besides link: String) -> [String] {
    let all = setting("all")
    return (Files.names(in: folder) ?? []).filter { name in
      !["all", "default", "lo", link].contains(name) && max(all, setting(name)) == 1
    }.sorted()
  }

  private static let folder = "/proc/sys/net/ipv4/conf"

  private static func setting(_ link: String) -> Int {
    Files.word(of: "\(folder)/\(link)/rp_filter").flatMap { Int($0) } ?? 0
  }
}
