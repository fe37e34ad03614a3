import Foundation

/// Deaths by SIGKILL just before a system call, brought about by strace(1).
struct Injection {
  /// The calls that change anything outside of the process, or wait for others that do.
  static let changing = [
    "write", "pwrite64", "openat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "chmod",
    "fchmodat", "ftruncate", "fallocate", "fsync", "flock", "socketpair", "bind", "listen", "connect",
    "setsockopt", "shutdown", "sendto", "sendmsg", "sendmmsg", "recvmsg", "clone", "clone3", "fork", "vfork",
    "execve", "wait4", "waitid", "poll", "ppoll", "kill", "pidfd_send_signal", "dup2", "close", "prctl",
    "capset",
    "setgroups", "setresuid", "setresgid", "setsid", "epoll_ctl", "exit_group", "bpf", "fsopen", "fsconfig",
    "fsmount",
  ]

  private static let log = "\(Machine.folder)/strace"

  /// Kills the command's main thread, and with it the process, before its first, second, … call of each kind that
  /// changes something, until it gets through.
  static func everyChange(_ trial: Trial) throws {
    for kind in Set(try calls(trial)).sorted() where changing.contains(kind) {
      for number in 1... {
        let status = try kill(
          "\(kind):signal=KILL:when=\(number)",
          before: "call \(number) of \(kind)",
          trial
        )
        if status == 0 { break }
        // strace dies as its child did.
        guard status == 128 + SIGKILL else { throw Machine.Trouble("strace ended with \(status)") }
      }
    }
  }

  /// The same before all other calls. Several reading calls of one kind in a row are one instant: nothing happens in
  /// between, and Foundation asks for one and the same limit some 500 times.
  static func everyOther(_ trial: Trial) throws {
    var numbers: [String: Int] = [:]
    var previous = ""
    for kind in try calls(trial) {
      numbers[kind, default: 0] += 1
      defer { previous = kind }
      guard !changing.contains(kind), kind != previous, let number = numbers[kind] else { continue }
      _ = try kill("\(kind):signal=KILL:when=\(number)", before: "call \(number) of \(kind)", trial)
    }
  }

  /// The calls of the main thread, in order.
  private static func calls(_ trial: Trial) throws -> [String] {
    var calls: [String] = []
    try trial.attempt("traced") { words in
      let ended = try Machine.run(["strace", "-q", "-o", log, "-e", "signal=none"] + words)
      calls = Machine.contents(of: log).split(separator: "\n").compactMap { call(in: $0) }
      return ended
    }
    return calls
  }

  private static func kill(_ injection: String, before call: String, _ trial: Trial) throws -> Int32 {
    var status: Int32 = 0
    try trial.attempt("killed before \(call)") { words in
      let options = ["-q", "-o", log, "-e", "signal=none", "-e", "inject=" + injection]
      let ended = try Machine.run(["strace"] + options + words)
      status = ended.status
      return ended
    }
    return status
  }

  /// How many calls of a kind are tried in children: between fork and exec, each of them closes some 200 descriptors.
  private static let mostInChildren = 30

  /// Kills every process that the command starts, the background process too, before call 1, 2, … of one kind: each
  /// that gets as far as that, the command itself included.
  static func everyChild(_ trial: Trial) throws {
    for (kind, most) in try mostCalls(trial).sorted(by: { $0.key < $1.key }) where changing.contains(kind) {
      for number in 1...min(most, mostInChildren) {
        try trial.attempt("all killed before their call \(number) of \(kind)", childrenDie: true) { words in
          try trace(["-e", "inject=\(kind):signal=KILL:when=\(number)"], words)
        }
      }
    }
  }

  /// How many of each kind of call the most eager process makes, other than the command itself.
  private static func mostCalls(_ trial: Trial) throws -> [String: Int] {
    var counts: [String: [Substring: Int]] = [:]
    try trial.attempt("traced") { words in
      let ended = try trace([], words)
      for line in Machine.contents(of: log).split(separator: "\n") {
        let fields = line.split(separator: " ", maxSplits: 1)
        guard fields.count == 2, pid_t(fields[0]) != ended.pid, let kind = call(in: fields[1]) else {
          continue
        }
        counts[kind, default: [:]][fields[0], default: 0] += 1
      }
      return ended
    }
    return counts.mapValues { $0.values.max() ?? 0 }
  }

  /// The name of the call that a line of strace's is about; nil for the second half of one, and for other lines.
  private static func call(in line: Substring) -> String? {
    let line = line.drop { $0 == " " }
    guard line.first?.isLetter ?? false, let end = line.firstIndex(of: "(") else { return nil }
    return String(line[..<end])
  }

  /// Runs a command under strace with all that it starts; strace is let go as soon as the command itself has ended.
  private static func trace(_ options: [String], _ words: [String]) throws -> Machine.Ended {
    try? FileManager.default.removeItem(atPath: log)
    let ended = try Machine.run(
      ["strace", "-D", "-f", "-I", "2", "-q", "-o", log, "-e", "signal=none"] + options + words
    )
    Machine.endTracers()
    return ended
  }
}
