// Rounds of map, traffic and unmap, over and over: `unshare … soak PORTMAP ROUNDS`.
//
// Nothing may grow: no rule, tracked connection, process, file or byte of the state, and neither the memory nor the
// descriptors of a background process that stays through all rounds and of the one that each round makes.

import Foundation

if CommandLine.arguments.dropFirst().first == Traffic.server { try Traffic.serve() }
guard getpid() == 1, CommandLine.arguments.count == 3, let rounds = Int(CommandLine.arguments[2]), rounds > 1
else {
  say("usage: unshare --net --mount --pid --fork --kill-child --mount-proc soak PORTMAP ROUNDS")
  exit(2)
}
do {
  let soak = try Soak(portmap: CommandLine.arguments[1])
  try soak.run(rounds)
  exit(soak.report() ? 0 : 1)
} catch {
  say("cannot go on: \(error)")
  exit(1)
}
