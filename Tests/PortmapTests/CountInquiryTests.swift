import CLinux
import Foundation
import Testing

@testable import portmap

/// Asking background processes what they have carried: all at once, whatever some of them do.
@Suite struct CountInquiryTests {
  private let keep = Keeper()

  /// A folder with control sockets that a test plays the processes of.
  private final class Folder {
    let path: String
    let descriptor: Descriptor

    init() throws {
      path = "/tmp/portmap-inquiry-" + UUID().uuidString.prefix(13)
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
      let path = path
      descriptor = try Descriptor("open") { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func listen(_ id: String) throws -> Descriptor {
      try UnixSocket.listen(on: ControlSocket.name(id), in: descriptor)
    }
  }

  private static func counts(_ numbers: Range<Int>) -> [HoldingCount] {
    numbers.map { number in
      let id = "a" + String(repeating: "0", count: 7 - "\(number)".count) + "\(number)"
      return HoldingCount(id: id, count: ProxyCount(clients: UInt64(number), bytesIn: .max))
    }
  }

  /// Answers one caller with messages, once the caller has asked.
  private func answer(_ control: Descriptor, _ messages: [[UInt8]]) -> DispatchSemaphore {
    let raw = control.raw
    return concurrently {
      let caller = Descriptor(owning: accept(raw, nil, nil))
      let (bytes, _) = try UnixSocket.receive(from: caller, by: .after(seconds: 10))
      #expect(bytes == [1, 9])
      for message in messages { try UnixSocket.send(message, to: caller, by: .after(seconds: 10)) }
    }
  }

  @Test func allKindsAtOnce() throws {
    let folder = try Folder()
    let many = Self.counts(0..<1000)
    let parts = [0..<250, 250..<500, 500..<750, 750..<1000].map {
      HolderMessage.counted(remaining: UInt32(1000 - $0.upperBound), Array(many[$0])).bytes
    }
    let none = HolderMessage.counted(remaining: 0, []).bytes
    // What version 0.1.0 says to what it does not know, and what later ones that do not count.
    let scripts: [(String, [[UInt8]])] = [
      ("many", parts), ("none", [none]), ("old1", [[1, 131]]), ("old2", [[1, 132, 3]]),
      ("lock", [[1, 132, 4]]), ("junk", [[9, 9, 9]]), ("half", Array(parts.prefix(2))),
    ]
    let sockets = try scripts.map { try folder.listen($0.0) }
    let running = zip(sockets, scripts).map { answer($0, $1.1) }
    // This one accepts nobody, as if it was stopped; that one is gone and has left its socket; the last is not there.
    keep(try folder.listen("stop"))
    _ = try folder.listen("left")
    let start = monotonicMilliseconds()
    let answers = try CountInquiry.answers(
      from: scripts.map(\.0) + ["stop", "left", "gone"],
      in: folder.descriptor,
      within: 300
    )
    #expect((290...5000).contains(monotonicMilliseconds() - start))
    for thread in running { thread.wait() }
    guard case .counts(let counts)? = answers["many"] else {
      Issue.record("\(String(describing: answers["many"]))")
      return
    }
    #expect(counts.count == 1000 && counts["a0000999"]?.clients == 999)
    #expect(answers["none"] == .counts([:]))
    #expect(answers["old1"] == .notCounted && answers["old2"] == .notCounted)
    for id in ["lock", "junk", "half", "gone"] { #expect(answers[id] == .silent, "\(id)") }
    // A program that another test has just started may have a copy of that socket for a moment.
    #expect(answers["left"] == .silent || answers["left"] == nil)
    #expect(answers["stop"] == nil)
  }

  /// Nobody is waited for any longer than the last answer takes.
  @Test func itEndsWithTheLastAnswer() throws {
    let folder = try Folder()
    let ids = (0..<600).map { "p\($0)" }
    let sockets = try ids.map { try folder.listen($0) }
    let raws = sockets.map(\.raw)
    let running = concurrently {
      for raw in raws {
        let caller = Descriptor(owning: accept(raw, nil, nil))
        _ = try UnixSocket.receive(from: caller, by: .after(seconds: 10))
        try UnixSocket.send(
          HolderMessage.counted(remaining: 0, []).bytes,
          to: caller,
          by: .after(seconds: 10)
        )
      }
    }
    let start = monotonicMilliseconds()
    let answers = try CountInquiry.answers(from: ids, in: folder.descriptor, within: 60_000)
    #expect(answers.count == 600 && answers.values.allSatisfy { $0 == .counts([:]) })
    #expect(monotonicMilliseconds() - start < 30_000)
    running.wait()
    #expect(try CountInquiry.answers(from: [], in: folder.descriptor, within: 60_000).isEmpty)
  }

  /// The queue of a process is full for a moment only.
  @Test func aFullQueueIsWaitedFor() throws {
    let folder = try Folder()
    let control = try folder.listen("busy")
    var callers: [Descriptor] = []
    while let caller = try UnixSocket.connectAtOnce(to: ControlSocket.name("busy"), in: folder.descriptor) {
      callers.append(caller)
    }
    #expect(callers.count > 1)
    let raw = control.raw
    let count = callers.count
    callers = []
    let running = concurrently {
      usleep(50_000)
      for _ in 0..<count { close(accept(raw, nil, nil)) }
      let caller = Descriptor(owning: accept(raw, nil, nil))
      _ = try UnixSocket.receive(from: caller, by: .after(seconds: 10))
      try UnixSocket.send(HolderMessage.counted(remaining: 0, []).bytes, to: caller, by: .after(seconds: 10))
    }
    let answers = try CountInquiry.answers(from: ["busy"], in: folder.descriptor, within: 20_000)
    #expect(answers == ["busy": .counts([:])])
    running.wait()
  }
}
