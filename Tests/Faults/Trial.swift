import Foundation

/// One scenario again and again, each time with a death at another instant.
final class Trial {
  let scenario: Scenario
  private let portmap: String
  private let before: Fingerprint
  private let after: Fingerprint
  /// How long the command takes when nothing happens to it.
  let microseconds: UInt32
  private(set) var passed = 0
  private(set) var failed = 0
  private var count = 0

  /// Learns the two states, by doing what the scenario says without a death.
  init(_ scenario: Scenario, portmap: String) throws {
    self.scenario = scenario
    self.portmap = portmap
    try Self.reset(scenario, portmap)
    before = try Fingerprint(portmap: portmap)
    try scenario.declare(\.then)
    microseconds = try Machine.mustRun(Scenario.words(portmap, scenario.command)).microseconds
    after = try Fingerprint(portmap: portmap)
    try Self.reset(scenario, portmap)
    let again = try Fingerprint(portmap: portmap)
    guard again == before else {
      let differences = again.differences(from: before).joined(separator: "\n")
      throw Machine.Trouble("\(scenario.name): two equal runs differ:\n\(differences)")
    }
  }

  private static func reset(_ scenario: Scenario, _ portmap: String) throws {
    try Machine.mustRun([portmap, "unmap", "--all"])
    try scenario.declare(\.before)
    for command in scenario.before { try Machine.mustRun(Scenario.words(portmap, command)) }
  }

  /// The command with a death at one instant, then what the next command makes of it.
  ///
  /// - Parameters:
  ///   - childrenDie: Whether what the command starts is killed as well, or alone.
  ///   - body: Runs the words of the command and returns what it was that happened.
  func attempt(
    _ instant: String,
    childrenDie: Bool = false,
    _ body: ([String]) throws -> Machine.Ended
  ) throws {
    try scenario.declare(\.then)
    let ended = try body(Scenario.words(portmap, scenario.command))
    Machine.endTracers()
    Machine.awaitStages()
    let recovery = recovery(childrenDie: childrenDie)
    let isGivenAgain = recovery == scenario.command
    count += 1
    var complaints: [String] = []
    if ended.status == -1 { complaints.append("  it hung: \(ended.description)") }
    let recovered = try Machine.run([portmap] + recovery)
    if recovered.status != 0 { complaints.append("  " + recovered.description) }
    let check = try Machine.run([portmap, "check"])
    if check.status != 0 { complaints.append("  " + check.description) }
    var left = try Fingerprint(portmap: portmap)
    // A process that was told to end, or a device on its way out, is given a moment.
    for _ in 0..<20 where left != after && (isGivenAgain || left != before) {
      usleep(50_000)
      left = try Fingerprint(portmap: portmap)
    }
    if left != after, isGivenAgain {
      complaints.append("  not as after, though it was given again:")
      complaints += left.differences(from: after)
    } else if left != before, left != after {
      let (fromBefore, fromAfter) = (left.differences(from: before), left.differences(from: after))
      let isNearBefore = fromBefore.count <= fromAfter.count
      complaints.append("  neither as before nor as after; from \(isNearBefore ? "before" : "after"):")
      complaints += isNearBefore ? fromBefore : fromAfter
    }
    if complaints.isEmpty {
      passed += 1
      if left != before { try Self.reset(scenario, portmap) }
    } else {
      failed += 1
      say("FAILED \(scenario.name), \(instant), then `\(recovery.joined(separator: " "))`:")
      say(complaints.joined(separator: "\n"))
      try clean()
    }
  }

  /// By turns, the two ways in which what is left is dealt with: any changing command, or `repair`. An unmap whose
  /// programs died may have said so before it died itself: that one is to be given again. So is an apply, which may
  /// have closed something before it died, to have it on another address.
  private func recovery(childrenDie: Bool) -> [String] {
    if scenario.file != nil { return scenario.command }
    if !count.isMultiple(of: 2) { return ["repair"] }
    let isRepeated = childrenDie && scenario.command.first == "unmap"
    return isRepeated ? scenario.command + ["--if-exists"] : ["unmap", "--if-exists", "1"]
  }

  /// Back to the start after a failure, by force where portmap cannot.
  private func clean() throws {
    if (try? Self.reset(scenario, portmap)) != nil, try Fingerprint(portmap: portmap) == before { return }
    kill(-1, SIGKILL)
    _ = Machine.processes()
    try? FileManager.default.removeItem(atPath: "/run/portmap")
    for program in ["iptables", "ip6tables"] {
      for table in ["raw", "nat", "filter"] {
        _ = try? Machine.run([program, "-t", table, "-F"])
        _ = try? Machine.run([program, "-t", table, "-X"])
      }
    }
    _ = try? Machine.run(["ip", "link", "delete", "portmap0"])
    _ = try? Machine.run(["ip", "-n", "guest", "link", "delete", "eth1"])
    try Self.reset(scenario, portmap)
  }
}
