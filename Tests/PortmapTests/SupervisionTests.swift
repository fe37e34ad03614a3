import CLinux
import Glibc
import Testing

@testable import portmap

/// What portmap and the stage of a command say to each other.
@Suite struct SupervisionTests {
  @Test func words() {
    for word in [StageWord.sockets, .go(DescriptorLimit(soft: 1024, hard: .max))] {
      #expect(StageWord(word.bytes) == word)
      #expect(StageWord(word.bytes + [0]) == nil && StageWord(Array(word.bytes.dropLast())) == nil)
    }
    #expect(StageWord([]) == nil && StageWord([2]) == nil)
  }

  @Test func answers() {
    for answer in [StageAnswer(.setUp, errno: EMFILE), StageAnswer(.exec, errno: ENOENT)] {
      #expect(StageAnswer(answer.bytes) == answer)
    }
    // The stage has become the command.
    #expect(StageAnswer([]) == nil)
  }
}

/// Waiting for a descriptor, which comes to an end.
@Suite struct DeadlineTests {
  @Test func itPasses() throws {
    let (mine, theirs) = try UnixSocket.pair()
    #expect(try !Deadline.after(milliseconds: 20).wait(for: POLLIN, of: mine))
    #expect(throws: SystemError(call: "recvmsg", errno: ETIMEDOUT)) {
      _ = try UnixSocket.receive(from: mine, by: .after(milliseconds: 20))
    }
    try UnixSocket.send([1], to: theirs, by: .never)
    #expect(try Deadline.never.wait(for: POLLIN, of: mine))
    #expect(try UnixSocket.receive(from: mine, by: .after(milliseconds: 0)).bytes == [1])
  }

  @Test func nobodyReads() throws {
    let (mine, theirs) = try UnixSocket.pair()
    let message = [UInt8](repeating: 0, count: UnixSocket.longestMessage)
    #expect(throws: SystemError(call: "sendmsg", errno: ETIMEDOUT)) {
      for _ in 0..<1000 { try UnixSocket.send(message, to: mine, by: .after(milliseconds: 20)) }
    }
    withExtendedLifetime(theirs) {}
  }

  @Test func nobodyAccepts() throws {
    let folder = "/tmp/portmap-unit-\(getpid())"
    #expect(mkdir(folder, 0o700) == 0)
    defer { rmdir(folder) }
    let descriptor = try Descriptor("open") { open(folder, O_DIRECTORY | O_CLOEXEC) }
    let listener = try UnixSocket.listen(on: "socket", in: descriptor)
    defer { unlinkat(descriptor.raw, "socket", 0) }
    var waiting: [Descriptor] = []
    #expect(throws: SystemError(call: "connect", errno: ETIMEDOUT, subject: "socket")) {
      for _ in 0..<100 {
        waiting.append(try UnixSocket.connect(to: "socket", in: descriptor, by: .after(milliseconds: 20)))
      }
    }
    #expect(waiting.count >= 16)
    withExtendedLifetime(listener) {}
  }
}
