import CLinux
import Glibc

/// Starts background processes.
enum HolderLauncher {
  /// The hidden command that such a process runs, and the descriptors that it finds.
  static let command = "hold"
  static let setupDescriptor: Int32 = 3
  static let controlDescriptor: Int32 = 4

  /// Starts a process that holds nothing yet and ends when the client goes without having said `begin`.
  ///
  /// - Returns: The process, and the client that talks to it.
  static func launch(id: String, in folder: Descriptor) throws -> (ProcessIdentity, HolderClient) {
    let name = ControlSocket.name(id)
    let control = try UnixSocket.listen(on: name, in: folder)
    let (mine, theirs) = try UnixSocket.pair()
    let null = try Descriptor("open", about: "/dev/null") { open("/dev/null", O_RDWR | O_CLOEXEC) }
    let words = ["portmap", command, id, "\(geteuid())", "\(userID())"]
    let arguments = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    let environment: [UnsafeMutablePointer<CChar>?] = [nil]
    let descriptors = [null.raw, null.raw, null.raw, theirs.raw, control.raw]
    var pid: pid_t = 0
    let error = clinux_spawn_daemon(
      "/proc/self/exe",
      arguments,
      environment,
      descriptors,
      Int32(descriptors.count),
      &pid
    )
    guard error == 0 else {
      unlinkat(folder.raw, name, 0)
      throw SystemError(call: "posix_spawn", errno: error, subject: "background process")
    }
    guard let process = ProcessIdentity(pid: pid) else {
      unlinkat(folder.raw, name, 0)
      throw HolderError(id: id, problem: "it ended at once")
    }
    return (process, try HolderClient(id: id, socket: mine))
  }

  /// The user that root's process becomes; others stay who they are (0).
  private static func userID() -> UInt32 { geteuid() == 0 ? UnusedUser.choose() ?? 0 : 0 }
}
