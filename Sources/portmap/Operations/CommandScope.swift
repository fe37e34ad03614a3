import Glibc

/// Holds what was asked for exactly as long as a command runs: `-- CMD` of map and alloc.
struct CommandScope {
  let command: [String]
  let setting: Setting

  /// Runs the command.
  ///
  /// - Parameters:
  ///   - variables: What the command's environment has besides portmap's own; LISTEN_FDS stays out of it otherwise.
  ///   - sockets: What it finds from descriptor 3 on.
  ///   - commit: Makes what is to live as long as the command, and returns what it is.
  /// - Returns: The command's exit status.
  func run(
    variables: [String: String] = [:],
    sockets: [Descriptor] = [],
    commit: (ProcessIdentity) throws -> Selection
  ) throws -> Int32 {
    let supervision = try Supervision(command, variables: variables)
    let selection = try commit(supervision.process)
    let result = Result { try supervision.run(with: sockets) }
    try release(selection)
    return try result.get()
  }

  private func release(_ selection: Selection) throws {
    let workspace = try Workspace.open(setting)
    defer { workspace.close() }
    try Transaction(.releasing(selection, from: workspace.state), workspace).carryOut()
  }
}

/// The exit status of a command that portmap ran, which becomes its own.
struct CommandEnded: Error {
  let status: Int32
}
