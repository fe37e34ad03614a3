/// `portmap check`: says where the state and what exists differ, and changes nothing.
enum CheckCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let targets = try arguments.operands.map { text throws(SpecError) in try Target(text) }
    let (found, missing) = try Failure.wrapping("check") { try find(targets, context) }
    let (notes, differences) = (found.filter(\.isNote), found.filter { !$0.isNote })
    if context.json {
      try Output.json(found.map(DifferenceDocument.init))
    } else if !context.quiet {
      for note in notes { context.say("note: \(note)") }
      try Output.lines(differences.map(\.description))
    }
    guard missing.isEmpty else {
      throw Failure(.nothingMatched, missing.map(\.absence).joined(separator: "; "))
    }
    guard !differences.isEmpty else { return }
    throw Failure(
      .failed,
      "\(differences.count) difference\(differences.count == 1 ? "" : "s")",
      hint: differences.allSatisfy(\.isOfDeclaration) ? "portmap apply" : "portmap repair"
    )
  }

  private static func find(_ targets: [Target], _ context: Context) throws -> (
    [Difference], missing: [Target]
  ) {
    guard try StateFolder.open(context.setting.statePath) != nil || Capability.mayAdministerNetwork else {
      return ([], targets)
    }
    let workspace = try Workspace.inspect(context.setting)
    let differences = try Inspection(workspace).differences()
    guard !targets.isEmpty else { return (differences, []) }
    let selection = workspace.state.selection(targets)
    let concerned = differences.filter { $0.concerns(selection, in: workspace.state) }
    return (concerned, targets.filter { workspace.state.selection([$0]).isEmpty })
  }
}
