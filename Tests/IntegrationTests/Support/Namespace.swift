import Foundation
import Synchronization
import Testing

/// A network namespace of the test's own, reached through `ip netns exec` alone: the test's threads are shared. What
/// is started inside lives as long as the test.
struct Namespace {
  let name: String
  private let cleanup: Cleanup

  private static let counter = Atomic(0)
  private static let prefix = "t" + String(getpid(), radix: 36) + "-"

  /// Makes a namespace with its loopback device up. The name is one that portmap takes too.
  init(_ role: String, _ cleanup: Cleanup) throws {
    try Tools.check()
    _ = Self.swept
    let number = Self.counter.wrappingAdd(1, ordering: .relaxed).newValue
    name = Self.prefix + String(number, radix: 36) + role
    self.cleanup = cleanup
    let name = name
    // Before it is made: one half made is removed as well.
    cleanup.add { try Self.remove(name) }
    try run(["ip", "netns", "add", name])
    // A new namespace takes some of its switches over from the machine's own.
    let switches = [
      "ipv4.ip_forward", "ipv6.conf.all.forwarding", "ipv4.conf.all.route_localnet",
      "ipv4.conf.default.route_localnet",
      "ipv4.conf.all.rp_filter", "ipv4.conf.default.rp_filter", "ipv6.bindv6only", "ipv6.conf.all.accept_dad",
      "ipv6.conf.default.accept_dad",
    ]
    try exec(["sysctl", "-qw"] + switches.map { "net.\($0)=0" })
    try ip("link", "set", "lo", "up")
  }

  /// Runs a program inside, to its end.
  @discardableResult
  func exec(
    _ arguments: [String],
    environment: [String: String] = [:],
    status: Int32? = 0,
    timeout: Double = 20,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try run(
      ["ip", "netns", "exec", name] + arguments,
      environment: environment,
      status: status,
      timeout: timeout,
      at: location
    )
  }

  @discardableResult
  func exec(_ arguments: String..., at location: SourceLocation = #_sourceLocation) throws -> Outcome {
    try exec(arguments, at: location)
  }

  /// Starts a program inside. Unless it is ended before, it lives until the test is over.
  @discardableResult
  func start(_ arguments: [String], environment: [String: String] = [:]) throws -> ChildProcess {
    let process = try ChildProcess(["ip", "netns", "exec", name] + arguments, environment: environment)
    cleanup.add { process.kill() }
    return process
  }

  /// `ip` on this namespace's links, addresses and routes.
  @discardableResult
  func ip(_ arguments: String..., at location: SourceLocation = #_sourceLocation) throws -> Outcome {
    try run(["ip", "-n", name] + arguments, at: location)
  }

  /// Several `ip` commands in one go.
  func ip(batch: [String]) throws {
    let script = batch.joined(separator: "\n")
    try run(["sh", "-c", "printf '%s\\n' \"$1\" | ip -n \"$0\" -batch -", name, script])
  }

  func setSysctl(_ settings: String..., at location: SourceLocation = #_sourceLocation) throws {
    try exec(["sysctl", "-qw"] + settings, at: location)
  }

  func sysctl(_ name: String) throws -> String {
    try exec("sysctl", "-n", name).stdout.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  /// The processes inside.
  func processes() throws -> [pid_t] {
    try run(["ip", "netns", "pids", name]).lines.compactMap { pid_t($0) }
  }

  /// Kills the processes inside and waits until they are gone; the test stops where there are none.
  func killProcesses(at location: SourceLocation = #_sourceLocation) throws {
    try #require(try !processes().isEmpty, "nothing to kill in \(name)", sourceLocation: location)
    try Self.killAll(in: name)
  }

  private static func killAll(in name: String) throws {
    try eventually("processes of \(name) do not die") {
      let left = try run(["ip", "netns", "pids", name], status: nil).lines.compactMap { pid_t($0) }
      for pid in left { kill(pid, SIGKILL) }
      return left.isEmpty
    }
  }

  private static func remove(_ name: String) throws {
    try killAll(in: name)
    if FileManager.default.fileExists(atPath: "/run/netns/\(name)") { try run(["ip", "netns", "del", name]) }
  }

  /// Removes, once, what test runs that were killed have left.
  private static let swept: Void = {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/run/netns")) ?? []
    for name in names where name.wholeMatch(of: /t[0-9a-z]+-[0-9a-z]+/) != nil {
      let owner = name.dropFirst().prefix { $0 != "-" }
      guard let pid = pid_t(owner, radix: 36), kill(pid, 0) != 0 else { continue }
      try? remove(name)
    }
  }()
}
