/// The use that another network namespace makes of a state folder.
///
/// A state that speaks of another namespace holds nothing that is there in this one, and would be replaced. It must not
/// be as long as anybody there relies on it.
struct OtherNamespace {
  private let state: State
  private let folder: StateFolder

  /// - Parameter state: What the folder's state file says, of this boot and of another namespace.
  init(_ state: State, in folder: StateFolder) {
    self.state = state
    self.folder = folder
  }

  /// A process that the state records and that is still of use; nil where there is none.
  ///
  /// A command that something lives as long as counts whenever it runs. A background process counts if its control
  /// socket is in this folder (it is not in a copy), and if anything else keeps its namespace: one that keeps a deleted
  /// namespace all by itself serves nobody.
  var user: ProcessIdentity? {
    let scopes = state.mappings.compactMap(\.scope) + state.reservations.compactMap(\.scope)
    if let command = scopes.first(where: \.isAlive) { return command }
    let background = state.holders.filter { folder.has(ControlSocket.name($0.id)) && $0.process.isAlive }
      .map(\.process)
    let pids = Set(background.map(\.pid))
    // Where even its namespace may not be looked at, a process is given the benefit of the doubt.
    return background.first { namespace(of: $0)?.isKept(besides: pids) ?? true }
  }

  /// The namespace that a process has its sockets in. One that has entered a guest's is elsewhere itself; those sockets
  /// keep the number of the state's own from being given to another.
  private func namespace(of process: ProcessIdentity) -> NetworkNamespace? {
    let ids = state.holders.filter { $0.process == process }.map(\.id)
    let isElsewhere = state.mappings.contains { $0.mapping.into != nil && ids.contains($0.holder) }
    guard isElsewhere else { return NetworkNamespace(of: process.pid) }
    return state.netnsInode.flatMap { NetworkNamespace(inode: $0) }
  }

  static func error(_ folder: StateFolder, _ user: ProcessIdentity) -> StateError {
    let command = ProcessIdentity.commandLine(of: user.pid) ?? "process"
    return StateError(
      path: folder.path,
      problem: "another network namespace uses this folder: '\(command)' (process \(user.pid)) is there",
      hint: "give this one a folder of its own with --state-dir"
    )
  }
}
