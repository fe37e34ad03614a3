/// A line of proc_pid_mountinfo(5).
struct Mount: Equatable {
  /// Where it is seen.
  let path: String
  let type: String
  /// The options of the file system itself, not of this mount of it.
  let options: [String]

  /// Reads `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`; nil for anything else.
  init?(line: Substring) {
    let fields = line.split(separator: " ")
    guard fields.count >= 10, let dash = fields[6...].firstIndex(of: "-"), dash + 3 < fields.count else {
      return nil
    }
    path = Self.unescaped(fields[4])
    type = String(fields[dash + 1])
    options = fields[dash + 3].split(separator: ",").map(String.init)
  }

  /// The mounts that a process sees; empty where it may not be asked.
  static func all(of process: String = "self") -> [Mount] {
    guard let bytes = Files.contents(of: "/proc/\(process)/mountinfo") else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { Mount(line: $0) }
  }

  /// Spaces, line breaks and backslashes are written in octal digits: `\040`.
  private static func unescaped(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      let digits = String(decoding: rest.prefix(3), as: UTF8.self)
      if byte == UInt8(ascii: "\\"), digits.count == 3, let code = UInt8(digits, radix: 8) {
        bytes.append(code)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
