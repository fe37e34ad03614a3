import Foundation

/// Programs run to their end, in a process namespace of which this program is the first process: whatever loses its
/// parent becomes its child, so that nothing that is left running can be missed, and all of it ends with it.
enum Machine {
  struct Ended {
    let command: String
    let pid: pid_t
    /// The exit status, 128 and the signal that ended it, or -1 where it had to be killed after the time limit.
    let status: Int32
    let output: String
    let microseconds: UInt32

    var description: String { "`\(command)` ended with \(status)\n\(output)" }
  }

  struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  static let folder = "/run/faults"
  private static let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// Runs a program to its end; its output, both kinds, goes to a file so that nobody can keep it waiting.
  ///
  /// - Parameter killedAfter: The number of microseconds after which it gets SIGKILL.
  static func run(_ words: [String], limit: Double = 15, killedAfter: UInt32? = nil) throws -> Ended {
    let out = "\(folder)/output"
    let begin = DispatchTime.now()
    let pid = try start(words, output: out)
    if let killedAfter {
      usleep(killedAfter)
      kill(pid, SIGKILL)
    }
    let status = wait(for: pid, limit: limit)
    let end = DispatchTime.now()
    return Ended(
      command: words.map { ($0 as NSString).lastPathComponent }.joined(separator: " "),
      pid: pid,
      status: status,
      output: contents(of: out),
      microseconds: UInt32((end.uptimeNanoseconds - begin.uptimeNanoseconds) / 1000)
    )
  }

  /// Starts a program and lets it run.
  static func start(_ words: [String], output out: String = "/dev/null") throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    let arguments = words.map { strdup($0) } + [nil]
    let variables = [strdup("PATH=" + searchPath), strdup("LC_ALL=C"), nil]
    defer { for text in arguments + variables { free(text) } }
    var pid = pid_t()
    let error = posix_spawnp(&pid, words[0], &actions, nil, arguments, variables)
    guard error == 0 else { throw Trouble("\(words[0]): \(String(cString: strerror(error)))") }
    return pid
  }

  /// The same for what must succeed.
  @discardableResult
  static func mustRun(_ words: [String]) throws -> Ended {
    let ended = try run(words)
    guard ended.status == 0 else { throw Trouble(ended.description) }
    return ended
  }

  @discardableResult
  static func mustRun(_ line: String) throws -> Ended {
    try mustRun(line.split(separator: " ").map(String.init))
  }

  /// Takes in every process that ends until that one has; -1 where the time is up, with everything killed.
  private static func wait(for pid: pid_t, limit: Double) -> Int32 {
    let deadline = DispatchTime.now() + limit
    while true {
      var raw: Int32 = 0
      let found = waitpid(-1, &raw, WNOHANG)
      if found == pid { return raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f) }
      if found > 0 { continue }
      if DispatchTime.now() > deadline {
        // All of this namespace, but for this process: it is the first one here.
        kill(-1, SIGKILL)
        while waitpid(-1, nil, 0) > 0 {}
        return -1
      }
      usleep(200)
    }
  }

  /// The processes that there are besides this one, with their names.
  static func processes() -> [(pid: pid_t, name: String)] {
    while waitpid(-1, nil, WNOHANG) > 0 {}
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { pid_t($0) }.filter { $0 != getpid() }.sorted().compactMap { pid in
      let name = contents(of: "/proc/\(pid)/comm").trimmingCharacters(in: .whitespacesAndNewlines)
      let isZombie = contents(of: "/proc/\(pid)/stat").contains(") Z ")
      return name.isEmpty || isZombie ? nil : (pid, name)
    }
  }

  /// Lets go of processes that are traced still, without harm to them.
  static func endTracers() {
    for _ in 0..<2000 {
      let tracers = processes().filter { $0.name == "strace" }
      if tracers.isEmpty { return }
      for tracer in tracers { kill(tracer.pid, SIGTERM) }
      usleep(500)
    }
  }

  /// Waits for commands that ports were held for to notice that nobody will let them begin any more.
  static func awaitStages() {
    for _ in 0..<2000 {
      let words = processes().map { contents(of: "/proc/\($0.pid)/cmdline") }
      if !words.contains(where: { $0.hasPrefix("portmap\0exec\0") }) { return }
      usleep(500)
    }
  }

  static func contents(of path: String) -> String {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  static func names(in path: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }
}

/// Prints a line at once.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
