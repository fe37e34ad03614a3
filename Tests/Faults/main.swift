// Deaths at every instant: `unshare --net --mount --pid --fork --kill-child --mount-proc faults PORTMAP full|quick`.
//
// After each death the next command has to find what there was before, or what the command would have left, and
// nothing else: rules, links, addresses, processes, ports, files, records.

import Foundation

guard getpid() == 1, CommandLine.arguments.count > 2 else {
  say(
    "usage: unshare --net --mount --pid --fork --kill-child --mount-proc faults PORTMAP full|quick [SCENARIO...]"
  )
  exit(2)
}
let portmap = CommandLine.arguments[1]
let isQuick = CommandLine.arguments[2] == "quick"
let named = CommandLine.arguments.dropFirst(3)
do {
  try Sandbox.make()
  var report = Report()
  let scenarios = Scenario.all.filter { named.isEmpty ? !isQuick || $0.isQuick : named.contains($0.name) }
  for scenario in scenarios { try report.run(scenario, portmap: portmap, isQuick: isQuick) }
  report.end()
  exit(report.failed == 0 ? 0 : 1)
} catch {
  say("cannot go on: \(error)")
  exit(1)
}
