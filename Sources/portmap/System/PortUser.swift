import Glibc

/// Who has a port, for the message that says that it is taken.
enum PortUser {
  /// `nginx (process 123)`; nil where that cannot be seen.
  static func find(_ transport: Transport, _ port: UInt16) -> String? {
    let inodes = Set(["", "6"].flatMap { Self.inodes("/proc/net/\(transport.rawValue)\($0)", port) })
    guard !inodes.isEmpty else { return nil }
    for name in Files.names(in: "/proc") ?? [] {
      guard let pid = Int32(name), let files = Files.names(in: "/proc/\(pid)/fd") else { continue }
      for file in files {
        guard let target = link("/proc/\(pid)/fd/\(file)"), inodes.contains(target) else { continue }
        return "\(Files.word(of: "/proc/\(pid)/comm") ?? "a program") (process \(pid))"
      }
    }
    return nil
  }

  /// The sockets bound to a port, as /proc/PID/fd names them: `socket:[12345]`.
  private static func inodes(_ table: String, _ port: UInt16) -> [String] {
    guard let bytes = Files.contents(of: table) else { return [] }
    let suffix =
      ":" + String(repeating: "0", count: 4 - String(port, radix: 16).count)
      + String(port, radix: 16).uppercased()
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(separator: " ")
      return fields.count > 9 && fields[1].hasSuffix(suffix) ? "socket:[\(fields[9])]" : nil
    }
  }

  private static func link(_ path: String) -> String? {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { buffer in
      guard let start = buffer.baseAddress else { return nil }
      let count = start.withMemoryRebound(to: CChar.self, capacity: buffer.count) {
        readlink(path, $0, buffer.count)
      }
      return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }
  }
}
