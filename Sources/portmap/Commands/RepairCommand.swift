/// `portmap repair`: makes what is there agree with the state, and says what it did.
enum RepairCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    if let operand = arguments.operands.first {
      throw Failure.usage("repair takes no operand ('\(operand)')")
    }
    if context.dryRun {
      let problems = try Failure.wrapping("repair") { () -> [Problem] in
        let workspace = try Workspace.open(context)
        return try Inspection(workspace: workspace).problems()
      }
      return try show(problems.map { "would mend \($0.subject): \($0.problem)" }, context)
    }
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

  private static func show(_ lines: [String], _ context: Context) throws {
    if context.json {
      try Output.json(lines.map { ["done": $0] })
    } else if !context.quiet {
      try Output.lines(lines)
    }
  }
}
