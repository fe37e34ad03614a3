import Foundation
import Testing

/// The programs that the tests run, found once. A missing one fails every test: none is skipped.
enum Tools {
  struct Missing: Error, CustomStringConvertible {
    let description: String
  }

  private static let names = [
    "conntrack", "ip", "ip6tables", "ip6tables-legacy", "ip6tables-save", "iptables", "iptables-legacy",
    "iptables-save", "prlimit", "setpriv", "sh", "ss", "strace", "sysctl", "unshare",
  ]

  /// The words that run a program as an ordinary user.
  static let ordinaryUser = ["setpriv", "--reuid", "65000", "--regid", "65000", "--clear-groups"]

  private static let found: Result<[String: String], Missing> = {
    guard geteuid() == 0 else { return .failure(Missing(description: "the integration tests need root")) }
    var paths: [String: String] = [:]
    for name in names {
      guard let path = search(name) else {
        return .failure(Missing(description: "command not found: \(name)"))
      }
      paths[name] = path
    }
    for path in [portmap, probe] where !FileManager.default.isExecutableFile(atPath: path) {
      return .failure(Missing(description: "not built: \(path)"))
    }
    return .success(paths)
  }()

  /// The folder that holds Package.swift.
  static let repository = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// The program under test.
  static let portmap =
    ProcessInfo.processInfo.environment["PORTMAP_BINARY"]
    ?? repository.appendingPathComponent(".build/release/portmap").path

  /// The helper that talks through the ports, built beside the tests.
  static let probe = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("probe").path

  static let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// Throws unless everything that the tests need is there.
  static func check() throws {
    _ = try found.get()
  }

  /// The path of a program: itself where it is one already.
  static func path(_ name: String) throws -> String {
    if name.contains("/") { return name }
    guard let path = try found.get()[name] ?? search(name) else {
      throw Missing(description: "command not found: \(name)")
    }
    return path
  }

  private static func search(_ name: String) -> String? {
    searchPath.split(separator: ":").map { "\($0)/\(name)" }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }
}
