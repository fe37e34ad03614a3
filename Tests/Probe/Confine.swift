import CLinux
import Glibc

extension Command {
  /// Installs a filter, a program of struct sock_filter in hexadecimal digits, then tries what it must refuse and what it
  /// must not: a line each, `refused|allowed NAME ERRNO`.
  static func confine(_ options: Options) throws(Ending) {
    let digits = Array(options.operand(1))
    let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
    let size = MemoryLayout<sock_filter>.stride
    guard !bytes.isEmpty, bytes.count % size == 0 else { throw Ending(.usage, usage) }
    let program = bytes.withUnsafeBytes { Array($0.bindMemory(to: sock_filter.self)) }
    if options.has("tell") { try check(clinux_tell_refused_calls(), "sigaction") }
    try check(clinux_close_process(), "prctl")
    try check(clinux_set_no_new_privileges(), "prctl")
    try check(clinux_filter_system_calls(program, UInt16(program.count)), "seccomp")
    tryForbidden()
    // Glibc blocks all signals meanwhile, and one that tells of a refusal cannot be blocked.
    if !options.has("tell") { tryToStart() }
    tryAllowed()
  }

  private static func tell(_ kind: String, _ name: String, _ body: () -> Int) {
    errno = 0
    let result = body()
    say("\(kind) \(name) \(result < 0 ? errno : 0)")
  }

  private static func tryForbidden() {
    tell("refused", "open") { Int(open("/etc/passwd", O_RDONLY)) }
    tell("refused", "execve") {
      var arguments: [UnsafeMutablePointer<CChar>?] = [nil]
      return Int(execve("/bin/true", &arguments, &arguments))
    }
    tell("refused", "kill") { Int(kill(getppid(), 0)) }
    tell("refused", "unix") { Int(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)) }
    tell("refused", "netlink") { Int(socket(AF_NETLINK, Int32(SOCK_RAW.rawValue), 0)) }
    tell("refused", "packet") { Int(socket(AF_PACKET, Int32(SOCK_RAW.rawValue), 0)) }
    tell("refused", "tcp6") { Int(socket(AF_INET6, Int32(SOCK_STREAM.rawValue), Int32(IPPROTO_TCP))) }
    tell("refused", "unlink") { Int(unlink("/nonexistent")) }
    tell("refused", "mount") { Int(mount("none", "/mnt", "tmpfs", 0, nil)) }
    tell("refused", "setuid") { Int(setuid(65000)) }
    tell("refused", "code") { mapping(PROT_READ | PROT_EXEC) }
  }

  private static func tryToStart() {
    tell("refused", "clone") {
      var pid: pid_t = 0
      let code = posix_spawn(&pid, "/bin/true", nil, nil, [nil], [nil])
      errno = code
      return code == 0 ? 0 : -1
    }
  }

  private static func tryAllowed() {
    tell("allowed", "tcp4") { Int(socket(AF_INET, Int32(SOCK_STREAM.rawValue), Int32(IPPROTO_TCP))) }
    tell("allowed", "memory") { mapping(PROT_READ | PROT_WRITE) }
    tell("allowed", "heap") {
      let blocks = (0..<2000).map { malloc($0 * 100) }
      for block in blocks { free(block) }
      return Int(malloc_trim(0)) * 0
    }
    tell("allowed", "pipe") {
      var ends: [Int32] = [-1, -1]
      return Int(clinux_pipe2(&ends, O_NONBLOCK))
    }
  }

  private static func mapping(_ protection: Int32) -> Int {
    let place = mmap(nil, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    return place == MAP_FAILED ? -1 : 0
  }
}
