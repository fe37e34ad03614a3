import Glibc

/// A figure, or why there is none.
enum Reading<Value> {
  case value(Value)
  /// Nothing goes this way.
  case noSuchWay
  /// A background process of an older version does not count.
  case notCounted
  /// Whoever would know does not tell: a process is gone or stopped, the rules cannot be read.
  case noAnswer
}

/// What has gone through a mapping since it was made.
struct MappingStatistics {
  /// Connections that a rule has led to the backend.
  let nat: Reading<UInt64>
  /// Connections that the program on connect(2) has led there.
  let connect: Reading<UInt64>
  let proxy: Reading<ProxyCount>
}

/// What has gone through mappings, as the kernel's rules and the background processes tell it when they are asked.
struct Statistics {
  /// A process that has not answered by then is not waited for.
  private static let millisecondsForAnswer = 1000

  private let led: [String: UInt64]?
  private let ledByConnect: [String: UInt64]?
  private let answers: [String: CountInquiry.Answer]

  /// Reads the rules' counters and asks the background processes, at the same time.
  ///
  /// - Throws: Interruption.
  init(of records: [MappingRecord], in state: State, _ folder: StateFolder, _ runner: ProgramRunner) throws {
    let counting = Self.startCounting(records, state, runner)
    let holders = Set(records.filter(\.delivery.proxy).map(\.holder)).subtracting([""])
    answers = try CountInquiry.answers(
      from: holders.sorted(),
      in: folder.descriptor,
      within: Self.millisecondsForAnswer
    )
    led = Self.finish(counting, ChainLayout(tag: state.tag ?? ""), runner)
    ledByConnect = records.contains(where: \.delivery.connect) ? state.connectCounts() : nil
  }

  func of(_ record: MappingRecord) -> MappingStatistics {
    MappingStatistics(
      nat: nat(record),
      connect: connect(record),
      proxy: proxy(record)
    )
  }

  private func nat(_ record: MappingRecord) -> Reading<UInt64> {
    guard record.delivery.nat else { return .noSuchWay }
    // A rule that is not there has led nobody: it is for check to miss it.
    return led.map { .value($0[record.id] ?? 0) } ?? .noAnswer
  }

  private func connect(_ record: MappingRecord) -> Reading<UInt64> {
    guard record.delivery.connect else { return .noSuchWay }
    return ledByConnect.map { .value($0[record.id] ?? 0) } ?? .noAnswer
  }

  private func proxy(_ record: MappingRecord) -> Reading<ProxyCount> {
    guard record.delivery.proxy else { return .noSuchWay }
    return switch answers[record.holder] {
    case .counts(let counts): .value(counts[record.id] ?? ProxyCount())
    case .notCounted: .notCounted
    case .silent, nil: .noAnswer
    }
  }

  // MARK: rules

  private typealias Counting = [Result<(name: String, program: RunningProgram), any Error>]

  /// One program for each family that has DNAT rules: there are none to ask for without.
  private static func startCounting(_ records: [MappingRecord], _ state: State, _ runner: ProgramRunner)
    -> Counting
  {
    let families = Set(records.filter(\.delivery.nat).map(\.backendIP.family))
    var firewall = Firewall(runner: runner, lock: nil)
    if let variant = state.firewallVariant, (try? firewall.variant()) != variant {
      firewall = firewall.of(variant: variant)
    }
    return firewall.startCounting(families.sorted { $0.rawValue < $1.rawValue })
  }

  /// What the rules have counted; nil where they could not be read.
  private static func finish(_ counting: Counting, _ layout: ChainLayout, _ runner: ProgramRunner)
    -> [String: UInt64]?
  {
    var counts: [String: UInt64] = [:]
    for started in counting {
      guard let result = try? started.get(), let saved = try? runner.finish([result])[0].get() else {
        return nil
      }
      counts.merge(RuleCounters.led(in: saved.stdout, prefix: layout.commentPrefix)) { $0 &+ $1 }
    }
    return counts
  }
}
