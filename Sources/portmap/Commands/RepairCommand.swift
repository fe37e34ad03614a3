/// `portmap repair`: makes what is there agree with the state, and says what it did.
enum RepairCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    if let operand = arguments.operands.first {
      throw Failure.usage("repair takes no operand ('\(operand)')")
    }
    if context.dryRun { return try Failure.wrapping("repair") { try preview(context) } }
    try Failure.wrapping("repair") {
      let (workspace, salvaged) = try Salvage.open(context)
      var repair = Repair(workspace: workspace)
      repair.done += salvaged
      repair.everything()
      try show(repair.done, context)
      for failure in repair.failures { context.say(Failure(failure, doing: "repair everything").message) }
      guard repair.failures.isEmpty else {
        throw Failure(.failed, "\(repair.failures.count) of the differences could not be mended")
      }
    }
  }

  /// Prints each difference as a comment, and the rules that would be put in order; or what `check` would.
  private static func preview(_ context: Context) throws {
    let workspace = try Workspace.open(context)
    let inspection = Inspection(workspace: workspace)
    let problems = try inspection.problems()
    if context.json { return try Output.json(problems) }
    let rules = NetAdmin.isHeld ? try rules(inspection, workspace.firewall()) : []
    try Output.lines(problems.map { "# \($0.subject): \($0.problem)" } + rules)
  }

  private static func rules(_ inspection: Inspection, _ firewall: Firewall) throws -> [String] {
    var lines: [String] = []
    for family in IPAddress.Family.allCases where firewall.isInstalled && firewall.serves(family) {
      let text = try inspection.comparison(family, firewall).0.repairText
      if !text.isEmpty { lines.append(firewall.shown(family, text)) }
    }
    return lines
  }

  private static func show(_ lines: [String], _ context: Context) throws {
    if context.json {
      try Output.json(lines.map { ["done": $0] })
    } else if !context.quiet {
      try Output.lines(lines)
    }
  }
}
