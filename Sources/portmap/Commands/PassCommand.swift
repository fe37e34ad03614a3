import CLinux
import Glibc

/// A pass of `apply --watch`, in a process of its own: applies what is declared, or mends what is recorded, and says
/// what could not be done and what there is to be watched now.
enum PassCommand {
  /// - Parameter grammar: What a line can be.
  static func run(_ arguments: ParsedArguments, _ context: Context, _ grammar: DeclarationGrammar) throws {
    guard let kind = arguments.operands.first.flatMap(PassJob.Kind.init(rawValue:)) else {
      throw Failure.usage("a pass is for the watcher alone")
    }
    let channel = try inherited(PassJob.channelDescriptor)
    let file = try inherited(PassJob.filesDescriptor)
    guard let files = DeclarationBundle.files(in: try Files.contents(of: file)) else {
      throw Failure.usage("a pass is for the watcher alone")
    }
    let job = PassJob(
      kind: kind,
      spared: Set(arguments.all(PassJob.sparing)),
      expectsState: arguments.has(PassJob.expecting)
    )
    var pass = Pass(job, context)
    try pass.run(files, grammar, context)
    for message in pass.messages {
      // A watcher that is gone has nothing to be told.
      guard (try? UnixSocket.send(message.bytes, to: channel, by: .never)) != nil else { return }
    }
  }

  /// A descriptor that the watcher has handed over; programs do not get it.
  private static func inherited(_ raw: Int32) throws -> Descriptor {
    try syscall("fcntl") { fcntl(raw, F_SETFD, FD_CLOEXEC) }
    return Descriptor(owning: raw)
  }
}

/// What a pass does, and what it has to say.
private struct Pass {
  private let job: PassJob
  private let quiet: Bool
  private let setting: Setting
  private let notes = Notes()
  private var end = PassEnd()
  private var processes: [WatchedProcess] = []

  /// What could not be done. What was done is told at once, and each time.
  private final class Notes {
    var problems: [PassProblem] = []
  }

  init(_ job: PassJob, _ context: Context) {
    self.job = job
    quiet = context.quiet
    setting = Setting(
      statePath: context.setting.statePath,
      runner: context.setting.runner,
      isDryRun: false,
      notify: { [notes] notice in
        switch notice {
        case .waiting: break
        case .notMended(let error):
          notes.problems.append(PassProblem(Failure(error, doing: "mend everything")))
        case .removalWaits, .notReleased, .notUndone, .notRecorded:
          notes.problems.append(PassProblem(message: notice.description, hint: nil))
        default: Output.say(notice.description)
        }
      },
      connects: context.setting.connects,
      explain: context.setting.explain
    )
  }

  /// What the watcher is told.
  var messages: [PassMessage] {
    let parts = stride(from: 0, to: processes.count, by: PassMessage.processesPerMessage).map {
      PassMessage.processes(Array(processes[$0..<min($0 + PassMessage.processesPerMessage, processes.count)]))
    }
    return notes.problems.map { .problem($0) } + parts + [.end(end)]
  }

  /// - Throws: Interruption.
  mutating func run(_ files: [DeclarationFile], _ grammar: DeclarationGrammar, _ context: Context) throws {
    let (declarations, mistakes) = ApplyCommand.declarations(of: files, grammar, context)
    guard mistakes.isEmpty else {
      notes.problems = mistakes.map { PassProblem($0) }
      end.isMistaken = true
      end.status = ExitStatus.usage.rawValue
      return
    }
    do {
      let workspace = try Workspace.open(setting)
      if job.expectsState, !workspace.file.isThere {
        end.isLost = true
        return
      }
      defer { note(workspace) }
      if job.kind == .restart { clear(workspace) }
      try apply(declarations, files.map(\.name), workspace)
    } catch let interruption as Interruption {
      throw interruption
    } catch {
      let failure = Failure(error, doing: "apply \(files.map(\.name).joined(separator: " "))")
      notes.problems.append(PassProblem(failure))
      end.status = failure.status.rawValue
    }
  }

  /// Takes away what is left of a state that was lost.
  private func clear(_ workspace: Workspace) {
    var repair = Repair(workspace)
    repair.everything()
    for failure in repair.failures { setting.notify(.notMended(failure)) }
  }

  private mutating func apply(_ declarations: [Declaration], _ names: [String], _ workspace: Workspace) throws
  {
    var apply = Apply(
      declarations,
      from: names,
      workspace,
      scope: job.kind.scope,
      sparing: job.spared
    )
    let outcome = try apply.run(ApplyCommand.record)
    end.hasLosses = !notes.problems.isEmpty
    end.hasFailures = !outcome.failures.isEmpty || !outcome.untried.isEmpty
    for (declaration, error) in outcome.failures {
      notes.problems.append(PassProblem(Failure(error, doing: declaration.task).at(declaration.origin)))
    }
    for failure in outcome.untried {
      notes.problems.append(PassProblem(message: "\(failure.origin): \(failure.problem)", hint: nil))
    }
    if !quiet { try? Output.lines(ApplyChanges(outcome, names).lines) }
  }

  /// Notes what there is to be watched, while nobody can change it.
  private mutating func note(_ workspace: Workspace) {
    let state = workspace.state
    end.hasFacts = true
    end.hasLinks = !state.bridges.isEmpty || !state.addresses.isEmpty
    end.hasRules = !state.chains.isEmpty
    end.isNFTables = state.firewallVariant == "nf_tables"
    end.rulesGeneration = state.rulesGeneration
    end.mark = StateMark(workspace.folder)
    end.isLost = workspace.file.isThere && end.mark == nil
    var lines: [String: String] = [:]
    for (holder, id) in state.mappings.map({ ($0.holder, $0.id) })
      + state.reservations.map({ ($0.holder, $0.id) })
    {
      lines[holder] = min(lines[holder] ?? id, id)
    }
    processes = state.holders.map {
      WatchedProcess(id: $0.id, line: lines[$0.id] ?? $0.id, process: $0.process)
    }
    workspace.close()
  }
}

extension PassJob.Kind {
  fileprivate var scope: Apply.Scope {
    switch self {
    case .apply, .restart: .everything
    case .retry: .failed
    case .keep: .recorded
    }
  }
}
