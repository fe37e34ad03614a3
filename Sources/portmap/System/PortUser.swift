import Glibc

/// The program that has a port, for the message that says that it is taken.
enum PortUser {
  private struct BoundSocket {
    /// As /proc/PID/fd names it: `socket:[12345]`.
    let name: String
    /// The user that has opened it.
    let user: uid_t
  }

  /// `nginx (process 123, nginx.service)`, or whose program it is where it does not let itself be looked into, as portmap's own
  /// background processes do not even by their user; nil where nothing can be seen.
  static func find(_ transport: Transport, _ port: UInt16) -> String? {
    let sockets = ["", "6"].flatMap { Self.sockets("/proc/net/\(transport.rawValue)\($0)", port) }
    let names = Set(sockets.map(\.name))
    guard let user = sockets.first?.user else { return nil }
    for name in Files.names(in: "/proc") ?? [] {
      guard let pid = Int32(name), let files = Files.names(in: "/proc/\(pid)/fd") else { continue }
      for file in files {
        guard let target = link("/proc/\(pid)/fd/\(file)"), names.contains(target) else { continue }
        let program = Files.word(of: "/proc/\(pid)/comm") ?? "a program"
        let owner = PortOwner.find(behind: pid, program, transport, port)
        return "\(program) (process \(pid)\(owner.map { ", \($0)" } ?? ""))"
      }
    }
    return "a program of user \(user) that is not to be looked into"
  }

  /// The sockets bound to a port.
  private static func sockets(_ table: String, _ port: UInt16) -> [BoundSocket] {
    guard let bytes = Files.contents(of: table) else { return [] }
    let suffix =
      ":" + String(repeating: "0", count: 4 - String(port, radix: 16).count)
      + String(port, radix: 16).uppercased()
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 9, fields[1].hasSuffix(suffix), fields[9] != "0", let user = uid_t(fields[7])
      else {
        return nil
      }
      return BoundSocket(name: "socket:[\(fields[9])]", user: user)
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
