/// `portmap check`: says where the state and what is there differ, and changes nothing.
enum CheckCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    if let operand = arguments.operands.first { throw Failure.usage("check takes no operand ('\(operand)')") }
    let problems = try Failure.wrapping("check") { try find(context) }
    if context.json {
      try Output.json(problems)
    } else if !context.quiet {
      try Output.lines(problems.map { "\($0.subject): \($0.problem)" })
    }
    if !problems.isEmpty {
      throw Failure(
        .failed,
        "\(problems.count) difference\(problems.count == 1 ? "" : "s")",
        hint: "portmap repair"
      )
    }
  }

  private static func find(_ context: Context) throws -> [Problem] {
    guard try StateFolder.open(context.statePath) != nil || NetAdmin.isHeld else { return [] }
    let workspace = try Workspace.inspect(context)
    guard workspace.state.intent == nil else {
      return [Problem(subject: "state", problem: "a command died before it was done")]
    }
    return try Inspection(workspace: workspace).problems()
  }
}
