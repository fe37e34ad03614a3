import Testing

@testable import portmap

/// When the watcher looks, by a clock of the test's own.
@Suite struct WatchScheduleTests {
  typealias Reason = WatchSchedule.Reason

  /// A schedule whose first pass has ended at 1000, and has found these things.
  private func schedule(_ facts: PassEnd = PassEnd(hasLinks: true, hasRules: true)) -> WatchSchedule {
    var schedule = WatchSchedule(at: 1000)
    schedule.hearsOfRules = true
    let work = schedule.take(at: 1000)
    #expect(work == WatchSchedule.Work(reasons: [.files]), "the first look is at once")
    schedule.ended(WatchSchedule.Work(reasons: [.files]), facts, processes: [], at: 1000)
    return schedule
  }

  @Test func nothingIsDueWhileNothingIsHeardOf() {
    #expect(schedule().due == nil)
  }

  @Test func aLookWaitsForQuiet() throws {
    var schedule = schedule()
    schedule.note(.rules, at: 2000)
    #expect(schedule.due == 2100)
    schedule.note(.links, at: 2090)
    #expect(schedule.due == 2190)
    #expect(schedule.take(at: 2189) == nil)
    #expect(schedule.take(at: 2190)?.reasons == [.rules, .links])
    #expect(schedule.due == nil, "one pass at a time")
  }

  @Test func aHostThatIsNeverQuietIsLookedAtOnceASecond() {
    var schedule = schedule()
    for time in stride(from: Int64(2000), through: 2950, by: 50) { schedule.note(.rules, at: time) }
    #expect(schedule.due == 3000)
  }

  @Test func whatIsHeardDuringAPassIsTakenAfterIt() {
    var schedule = schedule()
    schedule.note(.rules, at: 2000)
    let work = schedule.take(at: 2100)
    schedule.note(.state, at: 2110)
    #expect(schedule.due == nil)
    schedule.ended(work!, PassEnd(hasRules: true), processes: [], at: 2150)
    #expect(schedule.due == 2210)
    #expect(schedule.take(at: 2210)?.reasons == [.state])
    schedule.nothingToDo()
    #expect(schedule.due == nil)
  }

  @Test func nobodyIsWokenForWhatDoesNotMatter() {
    var schedule = schedule(PassEnd())
    for reason in [.rules, .links, .routes, .programs] as [Reason] { schedule.note(reason, at: 2000) }
    #expect(schedule.due == nil)
    for reason in [.files, .state, .namespaces] as [Reason] {
      var other = schedule
      other.note(reason, at: 2000)
      #expect(other.due == 2100, "\(reason)")
    }
    var failing = self.schedule(PassEnd(hasFailures: true))
    failing.note(.routes, at: 2000)
    #expect(failing.due == 2000, "the retry")
    #expect(failing.take(at: 2100)?.reasons == [.retry, .routes])
  }

  /// A pass that changes links hears of itself.
  @Test func passesThatChangeLinksAgainAndAgainAreSlowedDown() {
    var schedule = schedule()
    var now: Int64 = 2000
    var waits: [Int64] = []
    schedule.note(.links, at: now)
    for _ in 0..<8 {
      let due = schedule.due ?? 0
      waits.append(due - now)
      now = due
      let work = schedule.take(at: now)
      schedule.note(.links, at: now + 10)
      now += 20
      schedule.ended(work!, PassEnd(hasLinks: true), processes: [], at: now)
    }
    #expect(waits == [100, 90, 1000, 2000, 4000, 8000, 16000, 30000])
    let work = schedule.take(at: schedule.due!)
    schedule.ended(work!, PassEnd(hasLinks: true), processes: [], at: now)
    schedule.note(.links, at: now)
    #expect(schedule.due == now + 100, "once they hear nothing of themselves it is over")
  }

  @Test func whatCouldNotBeDoneIsTriedAgainEverSlowly() {
    var schedule = schedule(PassEnd(hasFailures: true))
    var now: Int64 = 1000
    var waits: [Int64] = []
    for _ in 0..<7 {
      waits.append(schedule.due! - now)
      now = schedule.due!
      let work = schedule.take(at: now)
      #expect(work?.reasons == [.retry])
      schedule.ended(work!, PassEnd(hasFailures: true), processes: [], at: now)
    }
    #expect(waits == [1000, 2000, 4000, 8000, 16000, 30000, 30000])
    // Other passes do not put it off.
    schedule.note(.state, at: now + 10)
    let other = schedule.take(at: now + 110)
    schedule.ended(other!, PassEnd(hasFailures: true), processes: [], at: now + 120)
    #expect(schedule.due == now + 30000)
    let last = schedule.take(at: now + 30000)
    schedule.ended(last!, PassEnd(), processes: [], at: now + 30010)
    #expect(schedule.due == nil)
  }

  @Test func aPassThatDiedIsOwed() {
    var schedule = schedule()
    schedule.note(.namespaces, at: 2000)
    let work = schedule.take(at: 2100)
    schedule.failed(work!, at: 2200)
    #expect(schedule.due == 3200)
    #expect(schedule.take(at: 3200)?.reasons == [.namespaces, .retry])
  }

  /// Those that take each other's place are of one line.
  @Test func aProcessThatKeepsDyingIsStartedEverSlower() {
    func process(_ number: Int, _ line: String) -> WatchedProcess {
      WatchedProcess(id: "\(line)\(number)", line: line, process: ProcessIdentity(pid: 1, startTime: 1))
    }
    var schedule = schedule()
    var now: Int64 = 2000
    var waits: [Int64] = []
    for number in 0..<9 {
      schedule.noteDeath(of: "a\(number)", line: "a", at: now)
      waits.append(schedule.due! - now)
      if number > 0 {
        // Another one dies meanwhile, and is not kept waiting.
        schedule.noteDeath(of: "b\(number)", line: "b\(number)", at: now)
        let work = schedule.take(at: now)
        #expect(
          work == WatchSchedule.Work(reasons: [.process], restarted: ["b\(number)"], spared: ["a\(number)"])
        )
        schedule.ended(work!, PassEnd(), processes: [process(number, "a")], at: now)
      }
      now = schedule.due!
      let work = schedule.take(at: now)
      #expect(work == WatchSchedule.Work(reasons: [.process], restarted: ["a\(number)"]))
      schedule.ended(work!, PassEnd(), processes: [process(number + 1, "a")], at: now)
    }
    #expect(waits == [0, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000])
    now += 130_000
    schedule.noteDeath(of: "a9", line: "a", at: now)
    #expect(schedule.due == now, "it has lived for long enough")
  }

  /// What was unmapped is not there any more.
  @Test func aProcessThatWasEndedIsForgotten() {
    var schedule = schedule()
    schedule.noteDeath(of: "a1", line: "a", at: 2000)
    let work = schedule.take(at: 2000)
    schedule.ended(work!, PassEnd(), processes: [], at: 2010)
    #expect(schedule.due == nil)
    schedule.noteDeath(of: "a2", line: "a", at: 2020)
    #expect(schedule.due == 2020)
  }

  @Test func whatNobodyTellsOfIsLookedAtByTheClock() {
    var schedule = schedule()
    schedule.hearsOfRules = false
    schedule.note(.state, at: 2000)
    let work = schedule.take(at: 2100)
    schedule.ended(work!, PassEnd(hasRules: true), processes: [], at: 2200)
    #expect(schedule.due == 6200)
    #expect(schedule.take(at: 6200)?.reasons == [.poll])
  }
}

/// What passes tell the watcher, as bytes and back.
@Suite struct PassMessageTests {
  @Test(arguments: [
    PassMessage.problem(PassProblem(message: "cannot map 8080: address already in use", hint: nil)),
    .problem(PassProblem(message: "quoted:\n  a line", hint: "do something")),
    .processes([]),
    .processes([
      WatchedProcess(id: "a1234567", line: "b1234567", process: ProcessIdentity(pid: 42, startTime: 99)),
      WatchedProcess(id: "c1234567", line: "d1234567", process: ProcessIdentity(pid: 43, startTime: 1 << 40)),
    ]),
    .end(PassEnd()), .end(PassEnd(status: 4, isMistaken: true)), .end(PassEnd(isLost: true)),
    .end(
      PassEnd(
        hasFacts: true,
        hasFailures: true,
        hasLosses: true,
        hasLinks: true,
        hasRules: true,
        isNFTables: true,
        rulesGeneration: .max,
        mark: StateMark(inode: 7, seconds: 1_800_000_000, nanoseconds: 999_999_999)
      )
    ),
  ])
  func sameAgain(_ message: PassMessage) {
    #expect(PassMessage(message.bytes) == message)
    #expect(message.bytes.count < UnixSocket.longestMessage)
  }

  @Test func manyProcessesFitIntoOneMessage() {
    let process = WatchedProcess(
      id: "a1234567",
      line: "b1234567",
      process: ProcessIdentity(pid: .max, startTime: .max)
    )
    let processes = Array(repeating: process, count: PassMessage.processesPerMessage)
    #expect(PassMessage.processes(processes).bytes.count <= UnixSocket.longestMessage)
  }

  @Test(arguments: ["", "end", "end\0status=x", "end\0frob", "end\0mark=1:2", "processes\0a b 1", "frob\0"])
  func anythingElseIsRefused(_ text: String) {
    #expect(PassMessage(Array(text.utf8)) == nil)
  }

  @Test func filesAsOneBlockAndBack() {
    let files = [
      DeclarationFile(name: "/etc/portmap.conf", bytes: Array("map 8080:80\n".utf8)),
      DeclarationFile(name: "/etc/a b.conf", bytes: []),
      DeclarationFile(name: "/x", bytes: [0, 255, 10, 0]),
    ]
    let bytes = DeclarationBundle.bytes(of: files)
    let read = DeclarationBundle.files(in: bytes) ?? []
    #expect(read.map(\.name) == files.map(\.name) && read.map(\.bytes) == files.map(\.bytes))
    #expect(DeclarationBundle.files(in: []) != nil)
    #expect(DeclarationBundle.files(in: Array(bytes.dropLast())) == nil)
    #expect(DeclarationBundle.files(in: [0x61, 0, 0x2D, 0x31, 0]) == nil)
  }
}
