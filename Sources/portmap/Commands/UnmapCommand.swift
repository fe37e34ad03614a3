/// `portmap unmap`: takes mappings, reservations and addresses away.
enum UnmapCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let all = arguments.has("--all")
    let targets = try arguments.operands.map { text throws(SpecError) in
      (text: text, target: try Target(text))
    }
    if all, !targets.isEmpty { throw Failure.usage("--all takes no target") }
    if !all, targets.isEmpty {
      throw Failure.usage("unmap needs a target, or --all", hint: "portmap unmap 8080/udp")
    }
    try Failure.wrapping("unmap \(all ? "everything" : arguments.operands.prefix(3).joined(separator: " "))")
    {
      let workspace = try Workspace.open(context.setting)
      let (selection, missing) = find(targets.map(\.target), all: all, in: workspace.state)
      let plan = Plan.releasing(selection, everything: all, from: workspace.state)
      if context.json {
        try Output.json(ListDocument(plan.before, only: selection))
      } else if context.dryRun {
        try Output.lines(Preview(plan).lines)
      }
      if !context.dryRun { try Transaction(plan, workspace).carryOut() }
      for (name, origin) in plan.released.declared {
        context.say("\(name) is declared at \(origin): the next portmap apply makes it again")
      }
      guard missing.isEmpty || arguments.has("--if-exists") else {
        throw Failure.nowhere(missing, meaning: targets.map(\.target), in: workspace.state)
      }
    }
  }

  private static func find(_ targets: [Target], all: Bool, in state: State) -> (Selection, missing: [String])
  {
    if all { return (state.everything, []) }
    return (state.selection(targets), targets.flatMap { state.absences(of: $0) })
  }
}

extension State {
  /// What a target named that is nowhere, in words: all of it, or one of its transports.
  fileprivate func absences(of target: Target) -> [String] {
    let selection = selection([target])
    guard !selection.isEmpty else { return [target.absence] }
    let found =
      mappings.filter { selection.mappings.contains($0.id) }.map(\.transport)
      + reservations.filter { selection.reservations.contains($0.id) }.map(\.transport)
    return target.transports.filter { !found.contains($0) }.map { target.absence(of: [$0]) }
  }
}

extension Plan {
  /// The mappings, reservations and addresses that are released.
  fileprivate var released: State {
    let mappings = Set(next.mappings.map(\.id))
    let reservations = Set(next.reservations.map(\.id))
    let addresses = Set(next.addresses.map(\.ip))
    var gone = before
    gone.mappings.removeAll { mappings.contains($0.id) }
    gone.reservations.removeAll { reservations.contains($0.id) }
    gone.addresses.removeAll { addresses.contains($0.ip) }
    return gone
  }
}

extension State {
  /// What a file declares, each thing with the line.
  fileprivate var declared: [(String, Origin)] {
    mappings.flatMap { record in
      [record.mapping.origin, record.mapping.tookOver].compactMap { $0 }.map { ("\(record.mapping)", $0) }
    } + reservations.compactMap { record in record.origin.map { ("\(record.reservation)", $0) } }
      + addresses.filter { !$0.isImplicit }.compactMap { address in address.origin.map { (address.title, $0) }
      }
  }
}
