import CLinux
import Glibc

// Which process is the background process of an id, so that no other is ever sent a signal.
//
// The kernel tells who listens on the control socket (SO_PEERCRED). Until the background process has called listen
// itself, that is the command that has started it, and may be the very one that asks. So the process must also have been
// started as the background process of this id, which the words of its command line say, and must have been there under
// the same number and start time before and after these were read.
//
// Where the socket cannot be connected to, as its queue is full, the command lines alone say it, and the user: anybody
// may call a process anything, but nobody can have it run as somebody else. Where /proc does not show the process
// (another process namespace, hidepid), nothing is proven.

extension HolderClient {
  /// The background process at the other end; nil where none is proven to be it.
  var process: ProcessIdentity? {
    var credentials = clinux_ucred()
    guard clinux_peer_credentials(socket.raw, &credentials) == 0, credentials.pid > 0,
      credentials.pid != getpid()
    else { return nil }
    let raw = clinux_pidfd_open(credentials.pid)
    guard raw >= 0 else { return nil }
    let pidfd = Descriptor(owning: raw)
    guard let process = ProcessIdentity(pidfd), Self.words(of: process.pid, id) != nil,
      ProcessIdentity(pidfd) == process
    else { return nil }
    return process
  }

  /// Ends the background process of an id: by having it let go of all that it holds, by force where it does not end then.
  ///
  /// - Throws: HolderError where it neither answers nor is proven to be any process: it may be there still.
  static func end(_ id: String, in folder: Descriptor) throws {
    var problem: (any Error)?
    var process: ProcessIdentity?
    do {
      let client = try connect(to: id, in: folder)
      process = client?.process
      if let client { try client.release(client.describe().map(\.id)) }
    } catch let error as HolderError where error.problem == .ended {
      // As it should.
    } catch {
      problem = error
      process = process ?? find(id)
    }
    if let process, !process.ends(within: 1000) { process.kill() }
    if let problem, process == nil { throw problem }
    unlinkat(folder.raw, ControlSocket.name(id), 0)
  }

  /// Looks for the background process of an id among all processes.
  private static func find(_ id: String) -> ProcessIdentity? {
    for name in Files.names(in: "/proc") ?? [] {
      guard let pid = Int32(name), pid != getpid(), let process = ProcessIdentity(pid: pid),
        let words = words(of: pid, id), words[3] == "\(geteuid())",
        [words[4], words[3]].contains(user(of: pid)), ProcessIdentity(pid: pid) == process
      else { continue }
      return process
    }
    return nil
  }

  /// The words of a process's command line, where they are those of the background process of an id.
  private static func words(of pid: Int32, _ id: String) -> [String]? {
    let words = ProcessIdentity.words(of: pid) ?? []
    return words.count == 5 && words[1] == HolderLauncher.command && words[2] == id ? words : nil
  }

  private static func user(of pid: Int32) -> String {
    var status = stat()
    return stat("/proc/\(pid)", &status) == 0 ? "\(status.st_uid)" : ""
  }
}
