/// `portmap check`: says where the state and what exists differ, and changes nothing; with `--probe` whether backends
/// answer, too.
enum CheckCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let targets = try arguments.operands.map { text throws(SpecError) in try Target(text) }
    let result = try Failure.wrapping("check") {
      try find(targets, probes: arguments.has("--probe"), context)
    }
    let (notes, differences) = (result.found.filter(\.isNote), result.found.filter { !$0.isNote })
    if context.json {
      try Output.json(result.found.map(DifferenceDocument.init))
    } else if !context.quiet {
      for note in notes { context.say("note: \(note)") }
      try Output.lines(differences.map(\.description))
      for outlook in result.outlooks where !outlook.isTold { context.say("\(outlook)") }
    }
    guard result.missing.isEmpty else { throw Failure.nowhere(result.missing, in: result.state) }
    guard !differences.isEmpty else { return }
    throw Failure(
      .failed,
      "\(differences.count) difference\(differences.count == 1 ? "" : "s")",
      hint: hint(differences, context)
    )
  }

  /// What mends the differences: repair, where there is anything for it; else what to do about the first of them.
  private static func hint(_ differences: [Difference], _ context: Context) -> String? {
    let remedies = differences.compactMap { $0.remedy { apply($0, context) } }
    return remedies.first { $0 == Difference.repair } ?? remedies.first
  }

  /// The call that applies the file of a line once more.
  private static func apply(_ origin: Origin, _ context: Context) -> String {
    if DeclarationFile.defaultPaths(context).contains(origin.name) { return "portmap apply" }
    let isFile = origin.name.hasPrefix("/")
    return "portmap apply " + (isFile ? ShellWords.quoted(origin.name) : "--origin \(origin.name) -")
  }

  private struct Result {
    var found: [Difference] = []
    var missing: [Target]
    var outlooks: [Outlook] = []
    var state: State?
  }

  private static func find(_ targets: [Target], probes: Bool, _ context: Context) throws -> Result {
    guard try StateFolder.open(context.setting.statePath) != nil || Capability.mayAdministerNetwork else {
      return Result(missing: targets)
    }
    let workspace = try Workspace.inspect(context.setting)
    let state = workspace.state
    var result = Result(
      found: try Inspection(workspace).differences(probes: probes),
      missing: targets.filter { state.selection([$0]).isEmpty },
      state: state
    )
    let selection = targets.isEmpty ? state.everything : state.selection(targets)
    if !targets.isEmpty { result.found = result.found.filter { $0.concerns(selection, in: state) } }
    guard probes else { return result }
    // It takes seconds: nobody has to wait for that.
    workspace.close()
    let inspection = ProbeInspection(workspace)
    result.found += try inspection.differences(of: selection) { step in
      if context.verbose { context.say("\(step)") }
    }
    result.outlooks = inspection.mappings(selection).map { Outlook($0, result.found, state) }
    return result
  }
}
