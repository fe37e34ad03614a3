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
      let workspace = try Workspace.open(context)
      let (match, missing) = try find(targets, all: all, in: workspace.state)
      let release = Release(match, everything: all, workspace: workspace)
      if context.json {
        try Output.json(ListDocument(release.before, only: match))
      } else if context.dryRun {
        try Output.lines(release.preview.lines)
      }
      if !context.dryRun { try release.carryOut() }
      guard missing.isEmpty || arguments.has("--if-exists") else {
        throw Failure(.nothingMatched, missing.joined(separator: "; "))
      }
    }
  }

  private static func find(
    _ targets: [(text: String, target: Target)],
    all: Bool,
    in state: State
  ) throws -> (Selection, missing: [String]) {
    if all { return (state.everything, []) }
    var match = Selection()
    var missing: [String] = []
    for (_, target) in targets {
      let found = state.match(target)
      match.formUnion(found)
      missing += state.absences(of: target, in: found)
    }
    return (match, missing)
  }
}

extension State {
  /// What a target named that is nowhere, in words: all of it, or one of its transports.
  fileprivate func absences(of target: Target, in match: Selection) -> [String] {
    guard !match.isEmpty else { return [target.absence] }
    let found =
      mappings.filter { match.mappings.contains($0.id) }.map(\.transport)
      + reservations.filter { match.reservations.contains($0.id) }.map(\.transport)
    return target.transports.filter { !found.contains($0) }.map { target.absence(of: [$0]) }
  }
}
