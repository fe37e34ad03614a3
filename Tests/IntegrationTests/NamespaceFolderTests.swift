import Foundation
import Testing

/// State folders and the network namespaces that they belong to: one folder for two, and folders of none.
@Suite struct NamespaceFolderTests {
  /// Programs in namespaces of their own with one /run, which is the test's.
  private func withNamespaces(_ roles: String..., body: ([Portmap], _ shelf: String, Cleanup) throws -> Void)
    throws
  {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let run = try makeFolder(cleanup)
    try body(
      try roles.map { Portmap(try Namespace($0, cleanup), run: run, cleanup) },
      run + "/portmap",
      cleanup
    )
  }

  private func folder(of portmap: Portmap, on shelf: String) throws -> String {
    shelf + "/netns-" + (try portmap.namespace.exec(Tools.probe, "cookie").lines[0])
  }

  private func isThere(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

  // MARK: one folder for two

  @Test func aFolderThatAnotherNamespaceUses() throws {
    try withNamespaces("h", "i") { portmaps, shelf, _ in
      var (first, second) = (portmaps[0], portmaps[1])
      first.state = shelf + "-given"
      second.state = first.state
      try first("alloc", "8080")
      let pid = try #require(try first.list().reservations.first?.pid)
      let commands = [
        ["alloc", "8081"], ["list"], ["check"], ["repair"], ["unmap", "8080"], ["unmap", "--all"],
        ["alloc", "-n"],
        ["map", "8082:80", "--proxy-only", "--to", "127.0.0.1"],
      ]
      for command in commands {
        let outcome = try second.run(command, status: 1)
        #expect(outcome.stderr.contains("\(pid)") && outcome.stderr.contains(first.state), "\(outcome)")
        #expect(outcome.stderr.contains("hint: ") && outcome.stderr.contains("--state-dir"), "\(outcome)")
      }
      #expect(try first.list().reservations.map(\.pid) == [pid])
      #expect(try first.namespace.processes() == [pid])
      #expect(try first("check").stdout.isEmpty)
      // What nobody there has any more does not stand in the way.
      try first("unmap", "--all")
      #expect(try second("alloc", "8081").stdout == "8081\n")
      try second("unmap", "--all")
      try first("alloc", "8080")
      try first.namespace.killProcesses()
      #expect(try second("alloc", "8081").stdout == "8081\n")
    }
  }

  /// Nor does repair take over, or end, what it finds in the folder when the state is damaged besides.
  @Test func aDamagedStateOfAnotherNamespace() throws {
    try withNamespaces("h", "i") { portmaps, shelf, _ in
      var (first, second) = (portmaps[0], portmaps[1])
      first.state = shelf + "-given"
      second.state = first.state
      try first("alloc", "8080")
      let file = first.state + "/state.json"
      try Data("junk".utf8).write(to: URL(fileURLWithPath: file))
      let outcome = try second("repair", status: 1)
      #expect(outcome.stderr.contains("another network namespace"), "\(outcome)")
      #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == Data("junk".utf8))
      #expect(try first.namespace.processes().count == 1)
      try first("repair")
      #expect(try first.list().reservations.map(\.port) == [8080])
    }
  }

  @Test func aFolderThatACommandOfAnotherNamespaceUses() throws {
    try withNamespaces("h", "i") { portmaps, shelf, _ in
      var (first, second) = (portmaps[0], portmaps[1])
      first.state = shelf + "-given"
      second.state = first.state
      let command = try first.start(["alloc", "8080", "--", "sh", "-c", "echo started; exec sleep 60"])
      #expect(command.line() == "started")
      let outcome = try second("alloc", "8081", status: 1)
      #expect(outcome.stderr.contains("sleep 60"), "\(outcome)")
      command.signal(SIGTERM)
      _ = command.wait()
      #expect(try second("alloc", "8081").stdout == "8081\n")
    }
  }

  // MARK: folders of none

  @Test func foldersThatHoldNothingGo() throws {
    try withNamespaces("h", "i", "j") { portmaps, shelf, _ in
      let folders = try portmaps.map { try folder(of: $0, on: shelf) }
      try portmaps[0]("alloc", "8080")
      try portmaps[0]("unmap", "--all")
      try portmaps[1]("alloc", "8080")
      #expect(!isThere(folders[0]) && isThere(folders[1]))
      try portmaps[2]("alloc", "8080")
      #expect(isThere(folders[1]))
      // Looking deletes nothing, either, and a namespace's own folder stays.
      try portmaps[1]("unmap", "8080")
      try portmaps[2]("list")
      try portmaps[2]("check")
      #expect(isThere(folders[1]))
      try portmaps[1]("unmap", "--all")
      #expect(isThere(folders[1]))
      // Nor does it go while somebody has its lock, or while there is something in it that portmap does not know.
      let locker = try ChildProcess(["flock", folders[1] + "/lock", "sh", "-c", "echo locked; exec sleep 60"])
      #expect(locker.line() == "locked")
      try portmaps[2]("alloc", "8081")
      #expect(isThere(folders[1]))
      locker.kill()
      try Data().write(to: URL(fileURLWithPath: folders[1] + "/state.json.damaged-1"))
      try portmaps[2]("alloc", "8082")
      #expect(isThere(folders[1] + "/state.json"))
      try FileManager.default.removeItem(atPath: folders[1] + "/state.json.damaged-1")
      try portmaps[2]("unmap", "8082")
      #expect(!isThere(folders[1]))
    }
  }

  @Test(arguments: [0, 200])
  func foldersOfAnEarlierBootGo(more: Int) throws {
    try withNamespaces("h", "i") { portmaps, shelf, _ in
      let old = try folder(of: portmaps[0], on: shelf)
      try portmaps[0].run(["alloc", "-c", "\(1 + more)"])
      for pid in try portmaps[0].namespace.processes() { kill(pid, SIGKILL) }
      try portmaps[1]("alloc", "8080")
      #expect(isThere(old))
      let file = URL(fileURLWithPath: old + "/state.json")
      let boot = try String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8).prefix(36)
      let text = try String(contentsOf: file, encoding: .utf8)
      try text.replacing(boot, with: "00000000-0000-0000-0000-000000000000")
        .write(to: file, atomically: false, encoding: .utf8)
      try portmaps[1]("alloc", "8081")
      #expect(!isThere(old))
    }
  }

  /// Who was waiting for the lock of a folder that goes makes the folder anew.
  @Test func theLockOfAFolderThatGoes() throws {
    try withNamespaces("h") { portmaps, shelf, cleanup in
      try portmaps[0]("alloc", "8080")
      try portmaps[0]("unmap", "--all")
      let folder = try folder(of: portmaps[0], on: shelf)
      let go = shelf + "-go"
      let script = "echo locked; while [ ! -e \(go) ]; do sleep 0.02; done; rm -r \(folder)"
      let locker = try ChildProcess(["flock", folder + "/lock", "sh", "-c", script])
      #expect(locker.line() == "locked")
      let waiting = try portmaps[0].start(["alloc", "8080"])
      try expectBlocked(waiting.pid)
      try Data().write(to: URL(fileURLWithPath: go))
      try waiting.wait().expecting(0)
      #expect(locker.wait().status == 0)
      #expect(try portmaps[0].list().reservations.map(\.port) == [8080])
    }
  }

  /// Waits until a process waits for a lock: `1: -> FLOCK  ADVISORY  WRITE 4711 …` in /proc/locks.
  private func expectBlocked(_ pid: pid_t) throws {
    for _ in 0..<500 {
      let locks = try run(["cat", "/proc/locks"]).lines.map { $0.split(separator: " ") }
      if locks.contains(where: { $0.count > 5 && $0[1] == "->" && $0[5] == "\(pid)" }) { return }
      usleep(10_000)
    }
    Issue.record("process \(pid) does not wait for a lock")
  }

  // MARK: what clears folders of old files

  /// systemd-tmpfiles finds everything old, and takes nothing away.
  @Test func clearingOldFiles() throws {
    try withHost { portmap, host in
      try portmap("alloc", "8080")
      let files = try FileManager.default.contentsOfDirectory(atPath: portmap.state).sorted()
      let stranger = portmap.state + "/stranger"
      try Data().write(to: URL(fileURLWithPath: stranger))
      let rules = portmap.state + ".conf"
      try Data("e \(portmap.state) - - - 0\n".utf8).write(to: URL(fileURLWithPath: rules))
      try run(["systemd-tmpfiles", "--clean", rules])
      #expect(!isThere(stranger))
      #expect(try FileManager.default.contentsOfDirectory(atPath: portmap.state).sorted() == files)
      #expect(try portmap("check").stdout.isEmpty)
      try portmap("unmap", "8080")
      #expect(try host.processes().isEmpty)
    }
  }
}
