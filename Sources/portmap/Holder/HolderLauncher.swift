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
  /// - Parameter say: Is told what the command is waiting for, where the process is slow to start.
  /// - Returns: The process, and the client that talks to it.
  static func launch(
    id: String,
    in folder: Descriptor,
    say: @escaping (String) -> Void = { _ in }
  ) throws -> (ProcessIdentity, HolderClient) {
    let name = ControlSocket.name(id)
    let control = try UnixSocket.listen(on: name, in: folder)
    do {
      let (mine, theirs) = try UnixSocket.pair()
      let process = try start(id, setup: theirs, control: control)
      return (process, HolderClient(id: id, socket: mine, patience: .start(of: process, say)))
    } catch {
      unlinkat(folder.raw, name, 0)
      throw error
    }
  }

  private static func start(_ id: String, setup: Descriptor, control: Descriptor) throws -> ProcessIdentity {
    let null = try Descriptor("open", about: "/dev/null") { open("/dev/null", O_RDWR | O_CLOEXEC) }
    let words = ["portmap", command, id, "\(geteuid())", "\(userID())"]
    let arguments = words.map { strdup($0) } + [nil]
    let environment = (DebugLog.isWanted ? [strdup(DebugLog.setting)] : []) + [nil]
    defer { for text in arguments + environment { free(text) } }
    let errors = DebugLog.isWanted ? STDERR_FILENO : null.raw
    let descriptors = [null.raw, null.raw, errors, setup.raw, control.raw]
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
      throw SystemError(call: "posix_spawn", errno: error, subject: "background process")
    }
    guard let process = ProcessIdentity(kernelPID: pid) else { throw HolderError(id: id, problem: .ended) }
    return process
  }

  /// The user that root's process becomes; others stay who they are (0).
  private static func userID() -> UInt32 { geteuid() == 0 ? UnusedUser.choose() ?? 0 : 0 }
}
