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
      for (name, origin) in plan.before.declared(in: selection) {
        context.say("\(origin) declares \(name): the next apply makes it again")
      }
      guard missing.isEmpty || arguments.has("--if-exists") else {
        throw Failure.nowhere(missing, meaning: targets.map(\.target), in: workspace.state)
      }
    }
  }

  private static func find(_ targets: [Target], all: Bool, in state: State) -> (Selection, missing: [String])
  {
    if all { return (state.everything, []) }
    let found = targets.map { state.selection($0) }
    let missing = zip(targets, found).flatMap { state.absences(of: $0, among: $1) }
    return (found.reduce(into: Selection()) { $0.formUnion($1) }, missing)
  }
}

extension State {
  /// What a target named that is nowhere, in words: all of it, or one of its transports.
  fileprivate func absences(of target: Target, among selection: Selection) -> [String] {
    guard !selection.isEmpty else { return [target.absence] }
    let found = Set(
      mappings.filter { selection.mappings.contains($0.id) }.map(\.transport)
        + reservations.filter { selection.reservations.contains($0.id) }.map(\.transport)
    )
    return target.transports.filter { !found.contains($0) }.map { target.absence(of: [$0]) }
  }

  /// What a file declares of a selection, each thing with the line.
  fileprivate func declared(in selection: Selection) -> [(String, Origin)] {
    let mappings = mappings.filter { selection.mappings.contains($0.id) }.flatMap { record in
      [record.origin, record.mapping.tookOver].compactMap { $0 }.filter(\.isLine).map {
        ("\(record.mapping)", $0)
      }
    }
    let reservations = reservations.filter { selection.reservations.contains($0.id) }.compactMap { record in
      record.origin.map { ("\(record.reservation)", $0) }
    }
    let addresses = addresses.filter { selection.addresses.contains($0.ip) && !$0.isImplicit }.compactMap {
      address in
      address.origin.map { (address.title, $0) }
    }
    return mappings + reservations + addresses
  }
}
