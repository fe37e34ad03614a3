import Glibc

/// The processes that this one descends from.
enum CallingProcesses {
  /// A chain of parents is not longer than this.
  private static let most = 64

  /// Whether the program of any of them is called so: the file that it runs, not the name that it gives itself.
  static func include(_ program: String) -> Bool {
    var pid = getppid()
    for _ in 0..<most where pid > 0 {
      if executable(of: pid) == program { return true }
      guard let parent = parent(of: pid), parent != pid else { return false }
      pid = parent
    }
    return false
  }

  private static func executable(of pid: Int32) -> String? {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes { buffer in
      buffer.withMemoryRebound(to: CChar.self) { text in
        text.baseAddress.map { readlink("/proc/\(pid)/exe", $0, text.count) } ?? -1
      }
    }
    guard count > 0 else { return nil }
    let path = String(decoding: bytes[..<count], as: UTF8.self)
    // A file that was replaced while it runs: proc_pid_exe(5).
    let deleted = " (deleted)"
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    return name.hasSuffix(deleted) ? String(name.dropLast(deleted.count)) : name
  }

  /// The fourth field of proc_pid_stat(5); the second may hold anything.
  private static func parent(of pid: Int32) -> Int32? {
    guard let bytes = Files.contents(of: "/proc/\(pid)/stat") else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[end...].split(separator: " ")
    return fields.count > 2 ? Int32(fields[2]) : nil
  }
}
