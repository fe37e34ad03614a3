import Foundation
import Synchronization
import Testing

@testable import portmap

/// A trait that runs a test on a thread with a table of file descriptors of its own.
///
/// A program that another test starts inherits every descriptor of its parent's table until its exec closes them: what
/// this test has closed would stay open for that moment, and a port that it has let go of would still be taken.
struct OwnDescriptors: SuiteTrait, TestTrait, TestScoping {
  let isRecursive = true

  func provideScope(
    for test: Test,
    testCase: Test.Case?,
    performing function: @Sendable () async throws -> Void
  ) async throws {
    try await withOwnDescriptors(function)
  }
}

extension Trait where Self == OwnDescriptors {
  /// Keeps what the test opens from the programs that other tests start.
  static var ownDescriptors: Self { Self() }
}

/// Runs a function on a thread that shares none but the standard descriptors with the rest of the process.
func withOwnDescriptors(_ function: @Sendable () async throws -> Void) async throws {
  // A thread that Dispatch starts has the table of whoever had it started. So the way back to Dispatch's threads leads
  // over a second thread, which has the table of the process.
  let (outer, inner) = (TaskThread(), TaskThread(prepare: unshareDescriptors))
  defer {
    inner.end()
    outer.end()
  }
  try await withTaskExecutorPreference(outer) {
    try await withTaskExecutorPreference(inner) { try await function() }
  }
}

/// Leaves the calling thread with the standard descriptors in a table of its own. One call does both, so that nothing
/// of another test's is open here even for a moment.
@Sendable private func unshareDescriptors() {
  // `import Glibc` shows neither the function nor its flag, CLOSE_RANGE_UNSHARE of <linux/close_range.h>.
  typealias CloseRange = @convention(c) (UInt32, UInt32, Int32) -> Int32
  guard let symbol = dlsym(nil, "close_range"),
    unsafeBitCast(symbol, to: CloseRange.self)(3, .max, 1 << 1) == 0
  else { fatalError("close_range: \(String(cString: strerror(errno)))") }
}

/// A thread that runs tasks, one after the other.
private final class TaskThread: TaskExecutor {
  private let jobs = Mutex<[UnownedJob?]>([])
  private let added = DispatchSemaphore(value: 0)

  init(prepare: @escaping @Sendable () -> Void = {}) {
    Thread.detachNewThread { [self] in
      prepare()
      while let job = next() { job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
  }

  func enqueue(_ job: consuming ExecutorJob) { add(UnownedJob(job)) }

  /// Ends the thread once it has run what it was given before.
  func end() { add(nil) }

  private func add(_ job: UnownedJob?) {
    jobs.withLock { $0.append(job) }
    added.signal()
  }

  private func next() -> UnownedJob? {
    added.wait()
    return jobs.withLock { $0.removeFirst() }
  }
}

@Suite struct OwnDescriptorsTests {
  /// Starts one program after the other until it is told to end.
  private final class Starter: Sendable {
    private let isOver = Atomic(false)
    private let ended = DispatchSemaphore(value: 0)

    init() {
      Thread.detachNewThread { [self] in
        let words = [strdup("true"), nil]
        while !isOver.load(ordering: .relaxed) {
          var pid: pid_t = 0
          if posix_spawn(&pid, "/bin/true", nil, nil, words, [nil]) == 0 { waitpid(pid, nil, 0) }
        }
        free(words[0])
        ended.signal()
      }
    }

    func end() {
      isOver.store(true, ordering: .relaxed)
      ended.wait()
    }
  }

  @Test func noProgramInheritsWhatIsOpened() async throws {
    let starter = Starter()
    defer { starter.end() }
    let host = HostAddress.one(ownLoopbackAddress())
    try await withOwnDescriptors {
      for _ in 0..<300 { _ = try PortSocket.reserve(.tcp, host, 20000) }
    }
  }
}
