/// `portmap repair`: makes what exists agree with the state, and says what it did.
enum RepairCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    if let operand = arguments.operands.first {
      throw Failure.usage("repair takes no operand ('\(operand)')")
    }
    try Failure.wrapping("repair") {
      if context.dryRun { return try preview(context) }
      let (workspace, salvaged) = try Salvage.open(context.setting)
      var repair = Repair(workspace)
      repair.everything()
      try show(salvaged + repair.done, context)
      for failure in repair.failures { context.say(Failure(failure, doing: "repair everything").message) }
      guard repair.failures.isEmpty else {
        throw Failure(.failed, "\(repair.failures.count) of the differences could not be mended")
      }
    }
  }

  /// Prints each difference as a comment, and the rules that would be put in order; or what `check` would.
  private static func preview(_ context: Context) throws {
    let workspace = try Workspace.open(context.setting)
    let differences = try Inspection(workspace).differences()
    if context.json { return try Output.json(differences.map(DifferenceDocument.init)) }
    try Output.lines(differences.map { "# \($0)" } + rules(differences, workspace))
  }

  private static func rules(_ differences: [Difference], _ workspace: Workspace) throws -> [String] {
    try IPAddress.Family.allCases.filter { family in differences.contains { $0.isOfRules(family) } }.map {
      family in
      try workspace.firewall().shown(
        family,
        RuleInspection(workspace).comparison(family, counters: true).repairText
      )
    }
  }

  private static func show(_ done: [Mended], _ context: Context) throws {
    if context.json {
      try Output.json(done.map { ["done": $0.description] })
    } else if !context.quiet {
      try Output.lines(done.map(\.description))
    }
  }
}
