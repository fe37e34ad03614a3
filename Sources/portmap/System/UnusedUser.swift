import Glibc

/// A user that nothing else is given, for a process that shall have no power over anybody's files or processes.
enum UnusedUser {
  /// Numbers that nobody gives out, the best first.
  ///
  /// The first range lies in what systemd lists as unused (1879048192 to 2147352575), above what the containers of
  /// systemd and the subordinate numbers of useradd(8) reach (1879048191, 600100000) and what SSSD and FreeIPA derive
  /// for the users of a directory (2000200000), and below 2^31, from where on some programs take a number for a
  /// negative one. A user namespace often has no such number: there it is one of those between systemd's dynamic users
  /// and nobody, which systemd lists as unused and Debian as reserved.
  static let ranges: [ClosedRange<UInt32>] = [0x7F00_0000...0x7F0F_FFFF, 65520...65533]

  /// How many numbers of a range are tried before a further process shares one.
  private static let triesAtMost = 64

  /// A number that has no process, nor an entry in /etc/passwd or /etc/subuid; nil where this user namespace has none
  /// of the ranges.
  static func choose() -> UInt32? {
    let mapped = ["uid_map", "gid_map"].map { UserRanges(namespaceMap: text("/proc/self/\($0)")) }
    let given =
      ["passwd", "group"].map { UserRanges(accounts: text("/etc/\($0)")) }
      + ["subuid", "subgid"].map { UserRanges(subordinates: text("/etc/\($0)")) }
    for range in ranges {
      let candidates = candidates(in: range).filter { number in
        mapped.allSatisfy { $0.contains(number) } && !given.contains { $0.contains(number) }
      }
      if let number = candidates.first(where: hasNoProcess) ?? candidates.first { return number }
    }
    return nil
  }

  private static func candidates(in range: ClosedRange<UInt32>) -> [UInt32] {
    range.count <= triesAtMost ? range.shuffled() : (0..<triesAtMost).map { _ in UInt32.random(in: range) }
  }

  private static func hasNoProcess(_ number: UInt32) -> Bool {
    errno = 0
    return getpriority(__priority_which_t(PRIO_USER.rawValue), id_t(number)) == -1 && errno == ESRCH
  }

  private static func text(_ path: String) -> String {
    String(decoding: Files.contents(of: path) ?? [], as: UTF8.self)
  }
}

/// Numbers of users, or of groups, as the system's files list them.
struct UserRanges {
  private(set) var ranges: [Range<UInt64>] = []

  /// The numbers that a user namespace has (user_namespaces(7)): `0 100000 65536` a line, the first number inside, the
  /// first outside, how many.
  init(namespaceMap text: String) {
    add(text, separator: " ", first: 0, count: 2)
  }

  /// The numbers of passwd(5) or group(5): `www-data:x:33:…`.
  init(accounts text: String) {
    add(text, separator: ":", first: 2, count: nil)
  }

  /// The numbers of subuid(5) or subgid(5): `alice:100000:65536`.
  init(subordinates text: String) {
    add(text, separator: ":", first: 1, count: 2)
  }

  func contains(_ number: UInt32) -> Bool { ranges.contains { $0.contains(UInt64(number)) } }

  /// Reads a table: `first` and `count` are the columns of a range's first number and of its length, which is one where
  /// there is no such column.
  private mutating func add(_ text: String, separator: Unicode.Scalar, first: Int, count: Int?) {
    for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
      let fields = line.split(separator: UInt8(ascii: separator), omittingEmptySubsequences: separator == " ")
      guard fields.count > max(first, count ?? 0), let start = UInt32(Substring(fields[first])),
        let length = count.map({ UInt32(Substring(fields[$0])) }) ?? 1
      else { continue }
      ranges.append(UInt64(start)..<UInt64(start) + UInt64(length))
    }
  }
}
