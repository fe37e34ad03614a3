/// When the watcher looks, and why.
///
/// Theory of operation. Whatever is heard of is a reason to look, which may wait: until nothing has been heard of for
/// 100 ms, but for a second at most, as some hosts are never quiet. Then all reasons are taken together, and one pass
/// deals with them; what is heard of while it runs is taken when it is over.
///
///     quiet    --note-->   gathering   a reason has come
///     gathering --100 ms or 1 s--> busy   `take` hands out the reasons; a pass is started for them
///     gathering --nothing is different--> quiet (`nothingToDo`)
///     busy     --the pass ends--> quiet or gathering
///
/// What goes in circles is slowed down:
///
/// * A pass may change links, of which the kernel then tells. A second pass finds them well and changes nothing. Where
///   passes change them again and again, since something cannot be made, each is waited for twice as long.
/// * A background process that has died is started again at once; where it has been started less than a minute before,
///   after one second, then two, and so on up to a minute.
/// * What could not be done is tried again after one second, then two, and so on up to half a minute.
///
/// Rules in iptables' legacy variant, which nobody tells of, are looked at every four seconds. Nothing else goes by the
/// clock: where nothing is heard of, nothing is due.
///
/// Times are milliseconds of a clock that never jumps.
struct WatchSchedule {
  typealias Time = Int64

  /// Why there is to be a look.
  enum Reason: Hashable, CaseIterable {
    /// The files are to be read (again).
    case files
    /// Somebody has changed rules, perhaps.
    case rules
    /// Links, addresses or switches.
    case links
    case routes
    case namespaces
    /// Another command has changed the state, perhaps.
    case state
    /// iptables has come, gone, or become another.
    case programs
    /// A background process has died.
    case process
    /// Something could not be done before.
    case retry
    /// The time has come to look at what nobody tells of.
    case poll
  }

  /// What a look is for.
  struct Work: Equatable {
    var reasons: Set<Reason>
    /// The background processes that are dead and started again, and those that are left dead for now.
    var restarted: Set<String> = []
    var spared: Set<String> = []
  }

  private static let quiet: Time = 100
  private static let longestWait: Time = 1000
  private static let pollInterval: Time = 4000
  private static let longestRetry: Time = 30_000
  private static let longestRestart: Time = 60_000

  private var reasons: Set<Reason> = []
  private var firstHeard: Time = 0
  private var lastHeard: Time = 0
  private(set) var isBusy = false

  /// What the last pass has said.
  private(set) var facts = PassEnd()
  /// Whether changes of rules are heard of.
  var hearsOfRules = false

  private var retry: (due: Time, delay: Time)?
  /// What a pass was to deal with that has died.
  private var owed: Set<Reason> = []
  private var pollDue: Time?
  /// Whether links have changed while a pass was under way, and how many passes in a row that was so.
  private var hasEcho = false
  private var echoes = 0
  private var linksDue: Time = 0

  /// A background process that has died: those that take each other's place are of one line.
  private struct Death {
    let line: String
    let due: Time
  }
  private var dead: [String: Death] = [:]
  private var lines: [String: (restarted: Time, delay: Time)] = [:]

  /// The first look is at the files, at once.
  init(at now: Time) {
    reasons = [.files]
    firstHeard = now - Self.longestWait
    lastHeard = firstHeard
  }
}

// MARK: what is heard of

extension WatchSchedule {
  /// Notes a reason to look, unless nothing that is there depends on it.
  mutating func note(_ reason: Reason, at now: Time) {
    guard matters(reason) else { return }
    if reasons.isEmpty { firstHeard = now }
    lastHeard = now
    reasons.insert(reason)
    if isBusy, reason == .links || reason == .routes { hasEcho = true }
  }

  private func matters(_ reason: Reason) -> Bool {
    // What a pass that is under way will find to be watched is not known yet.
    if isBusy { return true }
    return switch reason {
    case .rules: facts.hasRules
    case .links: facts.hasLinks || facts.hasRules || facts.hasFailures
    case .routes: facts.hasFailures
    case .programs: facts.hasRules || facts.hasFailures || facts.hasLosses
    default: true
    }
  }

  /// Notes the death of a background process.
  mutating func noteDeath(of id: String, line: String, at now: Time) {
    guard dead[id] == nil else { return }
    var delay: Time = 0
    if let earlier = lines[line], now - earlier.restarted < Self.longestRestart + earlier.delay {
      delay = earlier.delay == 0 ? 1000 : min(2 * earlier.delay, Self.longestRestart)
    }
    lines[line] = (restarted: now, delay: delay)
    dead[id] = Death(line: line, due: now + delay)
  }
}

// MARK: what is due

extension WatchSchedule {
  /// When something will be due; nil where nothing will be, as long as nothing is heard of.
  var due: Time? {
    guard !isBusy else { return nil }
    var times = dead.values.map(\.due)
    if !reasons.isEmpty { times.append(gatheringEnds) }
    if let retry { times.append(retry.due) }
    if let pollDue { times.append(pollDue) }
    return times.min()
  }

  private var gatheringEnds: Time {
    let end = min(lastHeard + Self.quiet, firstHeard + Self.longestWait)
    return reasons.isSubset(of: [.links, .routes]) ? max(end, linksDue) : end
  }

  /// Hands out the work that is due, if any is. Until `ended` or `nothingToDo` no other is.
  mutating func take(at now: Time) -> Work? {
    guard let due, due <= now else { return nil }
    if let retry, retry.due <= now { reasons.insert(.retry) }
    if let pollDue, pollDue <= now { reasons.insert(.poll) }
    if dead.values.contains(where: { $0.due <= now }) { reasons.insert(.process) }
    let restarted = dead.filter { $0.value.due <= now }.map(\.key)
    let work = Work(
      reasons: reasons.union(owed),
      restarted: Set(restarted),
      spared: Set(dead.keys).subtracting(restarted)
    )
    (reasons, owed) = ([], [])
    hasEcho = false
    isBusy = true
    return work
  }

  /// Notes that a look has shown that nothing has changed, so that no pass was needed.
  mutating func nothingToDo() { isBusy = false }

  /// Notes that a pass could not be started, or has died: it is tried again.
  mutating func failed(_ work: Work, at now: Time) {
    isBusy = false
    owed = work.reasons
    tryAgainLater(at: now)
  }

  /// Notes what a pass has said.
  mutating func ended(_ work: Work, _ end: PassEnd, processes: [WatchedProcess], at now: Time) {
    isBusy = false
    facts = end
    if hasEcho {
      echoes += 1
      linksDue = echoes > 1 ? now + Self.delay(afterTries: echoes - 1) : now
    } else {
      echoes = 0
      linksDue = now
    }
    pollDue = end.hasRules && !hearsOfRules ? now + Self.pollInterval : nil
    if !(end.hasFailures || end.hasLosses || end.status != 0) {
      retry = nil
    } else if retry == nil || work.reasons.contains(.retry) {
      tryAgainLater(at: now)
    }
    noteRestarts(work.restarted, processes, at: now)
  }

  private mutating func tryAgainLater(at now: Time) {
    let delay = retry.map { min(2 * $0.delay, Self.longestRetry) } ?? 1000
    retry = (due: now + delay, delay: delay)
  }

  private static func delay(afterTries count: Int) -> Time {
    count > 5 ? longestRetry : 1000 << Time(count - 1)
  }

  private mutating func noteRestarts(_ restarted: Set<String>, _ processes: [WatchedProcess], at now: Time) {
    // They are alive again under another id, or cannot be, which is among the losses.
    for id in restarted {
      if let line = dead.removeValue(forKey: id)?.line { lines[line]?.restarted = now }
    }
    let known = Set(processes.map(\.line))
    lines = lines.filter { known.contains($0.key) }
    let ids = Set(processes.map(\.id))
    dead = dead.filter { ids.contains($0.key) }
  }
}
