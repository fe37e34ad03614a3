import Foundation
import Testing

@testable import portmap

@Suite(.ownDescriptors) struct ProxyEventLoopTests {
  private final class Handler: EventHandler {
    let descriptor: Descriptor
    var calls: [UInt32] = []
    var onCall: () -> Void = {}

    init(_ descriptor: Descriptor) { self.descriptor = descriptor }

    func handle(events: UInt32, tag: UInt32) {
      calls.append(events)
      onCall()
    }
  }

  private func pair() throws -> (Descriptor, Descriptor) {
    var ends: [Int32] = [0, 0]
    try syscall("socketpair") { socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) }
    return (Descriptor(owning: ends[0]), Descriptor(owning: ends[1]))
  }

  /// Two descriptors are ready in one turn; the first to be served closes the other and puts a new one in its place.
  @Test func eventOfAClosedDescriptorDoesNotReachItsSuccessor() throws {
    let loop = try EventLoop()
    let pairs = [try pair(), try pair()]
    let successor = Handler(try pair().0)
    var handlers = pairs.map { Handler($0.0) }
    var registrations: [Registration] = []
    for (index, handler) in handlers.enumerated() {
      registrations.append(try loop.add(handler.descriptor, events: Readiness.input, handler: handler))
      #expect(write(pairs[index].1.raw, "x", 1) == 1)
    }
    var served = 0
    var added = false
    for (index, handler) in handlers.enumerated() {
      handler.onCall = {
        served += 1
        loop.remove(registrations[index])
        loop.remove(registrations[1 - index])
        added = (try? loop.add(successor.descriptor, events: Readiness.input, handler: successor)) != nil
        loop.stop()
      }
    }
    try loop.run()
    #expect(served == 1)
    #expect(added)
    #expect(successor.calls.isEmpty)
    handlers = []
  }

  @Test func handlerIsCalledAgainAfterTheOthers() throws {
    let loop = try EventLoop()
    let (near, far) = try pair()
    let handler = Handler(near)
    let registration = try loop.add(
      near,
      events: Readiness.input | Readiness.edgeTriggered,
      handler: handler
    )
    #expect(write(far.raw, "x", 1) == 1)
    var turns = 0
    loop.onTurnEnd { turns += 1 }
    handler.onCall = { handler.calls.count < 3 ? loop.again(registration) : loop.stop() }
    try loop.run()
    #expect(handler.calls == [Readiness.input, 0, 0])
    #expect(turns == 3)
    handler.onCall = {}
  }

  @Test func timersFireOnceAndNotWhenCancelled() throws {
    let loop = try EventLoop()
    var fired: [Int] = []
    loop.after(milliseconds: 20) { fired.append(2) }
    loop.after(milliseconds: 5) { fired.append(1) }
    let cancelled = loop.after(milliseconds: 10) { fired.append(0) }
    loop.cancel(cancelled)
    loop.after(milliseconds: 60) { loop.stop() }
    try loop.run()
    #expect(fired == [1, 2])
  }
}
