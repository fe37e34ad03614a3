import CLinux
import Glibc

/// The process of `apply --watch`: hears of what changes, and starts a pass where that may matter.
///
/// Theory of operation. One thread, one event loop. WatchSchedule says when to look; what can be told without a program
/// is looked at here (the generation of the rules, the mark of the state file), and all else is done by a pass, one at a
/// time: this program once more, which says what there is to be watched now. So this process holds no lock, knows no
/// state, and touches neither programs nor JSON, which would cost it memory for good.
///
///     applying  --the first pass ends--> watching    ready; or the end, where nothing could be done at all
///     watching  --HUP-->                 watching    the files are read again; a mistake leaves them as they were
///     any       --TERM, INT-->           stopping    a pass that is under way undoes what it has begun
///     stopping  --the pass has ended-->  ends; rules, links and background processes stay
final class Watcher {
  /// What the watcher is given.
  struct Setting {
    let statePath: StatePath
    /// Words for every pass: `--state-dir=…`, `-v`, `-q`.
    let passOptions: [String]
    let environment: [String: String]
    /// Reads what is declared, as bytes that a pass understands.
    let readFiles: () throws -> [UInt8]
    /// Tells a person what could not be done.
    let say: (PassProblem) -> Void
    /// Puts an error into words.
    let problem: (any Error) -> PassProblem
  }

  private let setting: Setting
  private let loop: EventLoop
  private let manager: ServiceManager?
  private let signals: Descriptor
  private let senses: WatchSenses
  private var schedule: WatchSchedule
  private var timer: (due: WatchSchedule.Time, identifier: TimerQueue.Identifier)?

  private var files: Descriptor
  private var isReady = false
  private var isStopping = false
  /// Whether what was read last is still to be applied.
  private var owesApply = true
  /// The pass that is under way.
  private var pass: Pass?
  /// What passes have said that could not be done: each is told once.
  private var said: Set<String> = []
  private var outcome: Outcome?

  /// How watching has ended.
  enum Outcome {
    /// A signal has ended it.
    case stopped
    /// The first pass could do nothing at all, and has said why; the status that it has ended with.
    case failed(status: Int32)
  }

  private struct Pass {
    let process: PassProcess
    let work: WatchSchedule.Work
    /// The files as they were, where they have been read anew.
    let formerFiles: Descriptor?
    let registrations: [Registration]
  }

  /// - Throws: What keeps it from watching, or from reading the files for the first time.
  init(_ setting: Setting) throws {
    self.setting = setting
    signals = try Descriptor("signalfd") { clinux_service_signal_descriptor() }
    loop = try EventLoop()
    manager = setting.environment[ServiceManager.variable].flatMap { ServiceManager($0) }
    files = try Self.memoryFile(try setting.readFiles())
    schedule = WatchSchedule(at: monotonicMilliseconds())
    senses = try WatchSenses(setting.statePath, setting.environment, loop)
  }

  /// Watches until a signal ends it.
  func run() throws -> Outcome {
    // What came before it was blocked has been noted.
    if ![0, SIGHUP].contains(clinux_caught_signal()) { return .stopped }
    senses.hear = { [unowned self] in schedule.note($0, at: monotonicMilliseconds()) }
    senses.hearOfDeath = { [unowned self] in
      schedule.noteDeath(of: $0.id, line: $0.line, at: monotonicMilliseconds())
    }
    let handler = Handler { [unowned self] in takeSignals() }
    _ = try loop.add(signals, events: Readiness.input, handler: handler)
    loop.onTurnEnd { [unowned self] in endTurn() }
    endTurn()
    try loop.run()
    return outcome ?? .stopped
  }

  // MARK: signals

  private func takeSignals() {
    while true {
      switch clinux_next_signal(signals.raw) {
      case 0: return
      case SIGHUP:
        manager?.reloading()
        schedule.note(.files, at: monotonicMilliseconds())
      case let signal: stop(signal)
      }
    }
  }

  private func stop(_ signal: Int32) {
    if !isStopping { manager?.stopping() }
    // A terminal has sent INT to the pass, too.
    if signal == SIGTERM || isStopping { pass?.process.interrupt() }
    isStopping = true
    if pass == nil { loop.stop() }
  }

  // MARK: turns

  private func endTurn() {
    let now = monotonicMilliseconds()
    if !isStopping, let work = schedule.take(at: now) { begin(work) }
    let due = isStopping ? nil : schedule.due
    guard due != timer?.due else { return }
    if let timer { loop.cancel(timer.identifier) }
    timer = due.map { due in
      let wait = Int(max(0, due - monotonicMilliseconds()))
      return (due, loop.after(milliseconds: wait) { [unowned self] in timer = nil })
    }
  }

  private func begin(_ work: WatchSchedule.Work) {
    var former: Descriptor?
    if work.reasons.contains(.files), isReady {
      do {
        let read = try Self.memoryFile(setting.readFiles())
        (former, files, owesApply) = (files, read, true)
      } catch {
        // The declarations that were read before stay.
        setting.say(setting.problem(error))
        manager?.ready()
      }
    }
    guard let job = senses.job(for: work, isToApply: owesApply, schedule.facts) else {
      return schedule.nothingToDo()
    }
    do {
      let process = try PassProcess(job, options: setting.passOptions, files: files)
      let handlers = [
        (process.channel, Handler { [unowned self] in receive() }),
        (process.pidfd, Handler { [unowned self] in endPass() }),
      ]
      let registrations = try handlers.map { try loop.add($0.0, events: Readiness.input, handler: $0.1) }
      pass = Pass(process: process, work: work, formerFiles: former, registrations: registrations)
    } catch {
      if let former { files = former }
      tell([setting.problem(error)])
      schedule.failed(work, at: monotonicMilliseconds())
    }
  }

  // MARK: passes

  private func receive() {
    guard let pass, !pass.process.receive() else { return }
    // Its end of the socket is closed; the end of the process comes by itself.
    loop.remove(pass.registrations[0])
  }

  private func endPass() {
    guard let pass else { return }
    for registration in pass.registrations { loop.remove(registration) }
    let trouble = pass.process.finish()
    self.pass = nil
    let now = monotonicMilliseconds()
    if isStopping {
      loop.stop()
    } else if let trouble {
      if let former = pass.formerFiles { files = former }
      tell([trouble])
      schedule.failed(pass.work, at: now)
      return
    }
    guard !isStopping, let end = pass.process.end else { return }
    if !isReady, end.status != 0 {
      tell(pass.process.problems)
      outcome = .failed(status: end.status)
      return loop.stop()
    }
    take(end, pass, now)
  }

  private func take(_ end: PassEnd, _ pass: Pass, _ now: WatchSchedule.Time) {
    let problems = pass.process.problems
    if end.isMistaken {
      // Told each time that the files are read; nothing was tried.
      for problem in problems { setting.say(problem) }
      if let former = pass.formerFiles { files = former }
      schedule.ended(pass.work, schedule.facts, processes: senses.processes, at: now)
      for reason in pass.work.reasons.subtracting([.files]) { schedule.note(reason, at: now) }
    } else {
      for problem in problems where !said.contains(problem.message) { setting.say(problem) }
      said = Set(problems.map(\.message))
      if end.hasFacts { senses.attend(to: end, pass.process.processes) }
      var facts = end.hasFacts ? end : schedule.facts
      facts.status = end.status
      schedule.hearsOfRules = senses.hearsOfRules
      schedule.ended(pass.work, facts, processes: senses.processes, at: now)
      if end.isLost { schedule.note(.state, at: now) }
    }
    owesApply = owesApply && !end.isMistaken && (end.status != 0 || end.isLost)
    if !isReady || pass.work.reasons.contains(.files) { manager?.ready() }
    isReady = true
  }

  /// Tells what was not told before.
  private func tell(_ problems: [PassProblem]) {
    for problem in problems where said.insert(problem.message).inserted { setting.say(problem) }
  }

  private static func memoryFile(_ bytes: [UInt8]) throws -> Descriptor {
    let file = try Descriptor("memfd_create") { clinux_memory_file("declarations") }
    try bytes.withUnsafeBytes { try Files.write($0, to: file) }
    return file
  }
}

/// A handler that calls a function, whatever has happened.
final class Handler: EventHandler {
  private let body: () -> Void

  init(_ body: @escaping () -> Void) { self.body = body }

  func handle(events: UInt32, tag: UInt32) { body() }
}
