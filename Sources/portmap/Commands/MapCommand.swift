/// `portmap map`: reserves the host ports, installs the rules, starts the proxy, records the mappings.
enum MapCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let request = try MapRequest(arguments, context)
    do {
      try run(request, arguments, context)
    } catch let failure as Failure where [.conflict, .notPermitted].contains(failure.status) {
      // As an ordinary user, who may have no low port, or where a service of the host's own has it.
      throw failure.adding(hint: request.swappedPorts)
    }
  }

  private static func run(_ request: MapRequest, _ arguments: ParsedArguments, _ context: Context) throws {
    try Failure.wrapping("map \(arguments.operands.prefix(3).joined(separator: " "))") {
      if let command = arguments.command, !context.dryRun { return try run(command, request, context) }
      let workspace = try Workspace.open(context.setting)
      var mapper = Mapper(request, workspace)
      let result = try mapper.plan()
      let plan = result.plan
      guard !context.dryRun else {
        return context.json
          ? try report(plan.next.mappings.suffix(result.mappings.count), plan.next, context)
          : try Output.lines(Preview(plan).lines)
      }
      try Transaction(plan, workspace, sockets: result.sockets).carryOut { state in
        try report(state.mappings.suffix(result.mappings.count), state, context)
      }
    }
  }

  /// Maps for as long as a command runs, and ends as it does.
  private static func run(_ command: [String], _ request: MapRequest, _ context: Context) throws {
    let scope = CommandScope(command: command, setting: context.setting)
    let status = try scope.run { process in
      let workspace = try Workspace.open(context.setting)
      defer { workspace.close() }
      var mapper = Mapper(request, workspace, scope: process)
      let result = try mapper.plan()
      try Transaction(result.plan, workspace, sockets: result.sockets).carryOut()
      return Selection(mappings: Set(result.mappings.map(\.id)))
    }
    throw CommandEnded(status: status)
  }

  private static func report(
    _ mappings: ArraySlice<MappingRecord>,
    _ state: State,
    _ context: Context
  ) throws {
    if context.json {
      try Output.json(mappings.map { MappingDocument($0, state) })
    } else if context.quiet {
      try Output.lines(mappings.map { "\($0.hostPorts)" })
    } else {
      try Output.lines(mappings.map { "\($0.mapping)" })
    }
  }
}
