import Glibc

/// What `map` and `alloc` do with `-- CMD`: hold what was asked for exactly as long as the command runs.
struct Scoped {
  let command: [String]
  let context: Context

  /// Runs the command.
  ///
  /// - Parameters:
  ///   - variables: What the command's environment has besides portmap's own; LISTEN_FDS stays out of it otherwise.
  ///   - sockets: What it finds from descriptor 3 on.
  ///   - commit: Puts there what is to live as long as the command, and returns by which it is found again.
  /// - Returns: The command's exit status.
  func run(
    variables: [String: String] = [:],
    sockets: [Descriptor] = [],
    commit: (ProcessIdentity) throws -> Selection
  ) throws -> Int32 {
    var environment = context.environment
    for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] { environment[name] = nil }
    let supervision = try Supervision(command, environment: environment.merging(variables) { $1 })
    let match = try commit(supervision.process)
    let result = Result { try supervision.run(with: sockets) }
    try release(match)
    return try result.get()
  }

  private func release(_ match: Selection) throws {
    let workspace = try Workspace.open(context)
    defer { workspace.close() }
    try Release(match, everything: false, workspace: workspace).carryOut()
  }
}

/// The exit status of a command that portmap ran, which becomes its own.
struct CommandEnded: Error {
  let status: Int32
}
