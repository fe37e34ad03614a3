import Foundation

/// Runs scenarios and counts.
struct Report {
  private(set) var passed = 0
  private(set) var failed = 0
  private let begin = Date()

  mutating func run(_ scenario: Scenario, portmap: String, isQuick: Bool) throws {
    let trial = try Trial(scenario, portmap: portmap)
    var last = 0
    var start = Date()
    func part(_ words: String) {
      let seconds = Int(Date().timeIntervalSince(start).rounded())
      let done = trial.passed + trial.failed
      say("\(scenario.name): \(done - last) \(words), \(seconds) s")
      (last, start) = (done, Date())
    }
    try Injection.everyChange(trial)
    part("deaths before calls that change something")
    if !isQuick {
      try Injection.everyOther(trial)
      part("deaths before the other calls")
      try Injection.everyChild(trial)
      part("deaths of all processes before calls that change something")
    }
    var generator = Generator(seed: 1)
    for _ in 0..<(isQuick ? 10 : 20) {
      let delay = UInt32.random(in: 0...trial.microseconds * 12 / 10, using: &generator)
      try trial.attempt("kill -9 after \(delay) µs") { words in
        try Machine.run(words, killedAfter: delay)
      }
    }
    part("deaths at random instants")
    passed += trial.passed
    failed += trial.failed
  }

  func end() {
    let seconds = Int(Date().timeIntervalSince(begin).rounded())
    say("took \(seconds / 60) min \(seconds % 60) s")
    say("\(passed) passed, \(failed) failed")
  }
}

/// The same random numbers in every run: xorshift64.
struct Generator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
