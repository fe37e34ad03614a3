import CLinux
import Glibc

/// This program once more, in a process of its own.
enum OwnProgram {
  /// Starts it with exactly these descriptors as 0, 1, 2 and so on.
  ///
  /// - Parameters:
  ///   - arguments: Its words, its name first and nil last.
  ///   - environment: Its variables, nil last.
  ///   - subject: What a failure is about.
  static func start(
    _ arguments: [UnsafeMutablePointer<CChar>?],
    environment: [UnsafeMutablePointer<CChar>?],
    descriptors: [Int32],
    about subject: String? = nil
  ) throws(SystemError) -> pid_t {
    var pid: pid_t = 0
    let count = Int32(descriptors.count)
    let error = clinux_spawn("/proc/self/exe", arguments, environment, descriptors, count, &pid)
    guard error == 0 else { throw SystemError(call: "posix_spawn", errno: error, subject: subject) }
    return pid
  }
}
