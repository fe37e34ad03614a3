// Rounds of map, traffic and unmap, over and over, `unshare … soak PORTMAP rounds ROUNDS`, or constant traffic over two
// hundred mappings, `unshare … soak PORTMAP seconds SECONDS`.
//
// Nothing may grow: no rule, tracked connection, process, file or byte of the state, and neither the memory nor the
// descriptors of a background process that stays through all rounds and of the one that each round makes.

import Foundation

if CommandLine.arguments.dropFirst().first == Traffic.server { try Traffic.serve() }
let words = CommandLine.arguments
guard getpid() == 1, words.count == 4, let count = Int(words[3]), count > 1,
  ["rounds", "seconds"].contains(words[2])
else {
  say(
    "usage: unshare --net --mount --pid --fork --kill-child --mount-proc soak PORTMAP rounds|seconds NUMBER"
  )
  exit(2)
}
do {
  if words[2] == "rounds" {
    let soak = try Soak(portmap: words[1])
    try soak.run(count)
    exit(soak.report() ? 0 : 1)
  }
  let load = try SteadyLoad(portmap: words[1])
  try load.run(count)
  exit(load.report() ? 0 : 1)
} catch {
  say("cannot go on: \(error)")
  exit(1)
}
