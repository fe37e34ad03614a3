import Foundation
import Testing

@testable import portmap

/// A stream whose byte at a position is known: noise that repeats at no power of two, so that a piece which is
/// lost, doubled or misplaced shows.
private struct Pattern: Sendable {
  private let block: [UInt8]

  init(seed: UInt64) { block = noise(1_000_003, seed: seed) }

  func send(_ total: Int, through socket: Endpoint) throws {
    var position = 0
    while position < total {
      let start = position % block.count
      let end = min(block.count, start + 200_000, start + total - position)
      try socket.send(Array(block[start..<end]))
      position += end - start
    }
  }

  /// Reads to the end; how many bytes there were, or nil when one was wrong.
  func verify(_ socket: Endpoint) throws -> Int? {
    var position = 0
    while true {
      let part = try socket.receive(1 << 18)
      if part.isEmpty { return position }
      guard matches(part, at: position) else { return nil }
      position += part.count
    }
  }

  private func matches(_ bytes: [UInt8], at position: Int) -> Bool {
    var done = 0
    while done < bytes.count {
      let start = (position + done) % block.count
      let count = min(block.count - start, bytes.count - done)
      // Not elementsEqual, which takes half a minute where the tests are not optimized.
      let isSame = memcmp(Array(bytes[done..<done + count]), Array(block[start..<start + count]), count) == 0
      guard isSame else { return false }
      done += count
    }
    return true
  }
}

@Suite(.ownDescriptors) struct ProxyBulkTests {
  private let keep = Keeper()
  private static let total = 64 << 20

  private func proxied(limits: ProxyLimits = .current) throws -> (Endpoint, SocketAddress, RunningProxy) {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, to: try backend.address())
    return (backend, frontend.address, keep(try RunningProxy([frontend], limits: limits)))
  }

  @Test func bothDirectionsAtOnce() throws {
    let (backend, address, _) = try proxied()
    let up = Pattern(seed: 1)
    let down = Pattern(seed: 2)
    let client = try Endpoint(.tcp, connectedTo: address)
    let server = try backend.accept()
    let (clientCopy, serverCopy) = (try duplicate(client), try duplicate(server))
    let sending = concurrently {
      let socket = Endpoint(Descriptor(owning: clientCopy))
      try up.send(Self.total, through: socket)
      socket.end()
    }
    let answering = concurrently {
      let socket = Endpoint(Descriptor(owning: serverCopy))
      try down.send(Self.total, through: socket)
      socket.end()
    }
    let raw = try duplicate(server)
    let receiving = concurrently {
      let received = try up.verify(Endpoint(Descriptor(owning: raw)))
      #expect(received == Self.total)
    }
    #expect(try down.verify(client) == Self.total)
    for thread in [sending, answering, receiving] { thread.wait() }
  }

  @Test func backendThatDoesNotReadHoldsUpTheClient() throws {
    let (backend, address, _) = try proxied()
    let client = try Endpoint(.tcp, connectedTo: address)
    let server = try backend.accept()
    client.patience(0, milliseconds: 500)
    let chunk = noise(100_000)
    var sent = 0
    while sent < 256 << 20 {
      let count = send(client.descriptor.raw, chunk, chunk.count, Int32(MSG_NOSIGNAL))
      if count > 0 { sent += count }
      if count < chunk.count { break }
    }
    // What four socket buffers and a pipe hold, and no more.
    #expect(sent < 64 << 20)
    // The end comes while everything is still under way.
    client.end()
    var received = 0
    while true {
      let part = try server.receive(1 << 18)
      if part.isEmpty { break }
      let start = received % chunk.count
      #expect(
        part[0] == chunk[start] && part[part.count - 1] == chunk[(received + part.count - 1) % chunk.count]
      )
      received += part.count
    }
    #expect(received == sent)
  }

  @Test func bulkLeavesOthersTheirTurn() throws {
    let (backend, address, _) = try proxied()
    let bulk = try Endpoint(.tcp, connectedTo: address)
    let sink = try backend.accept()
    let (bulkCopy, sinkCopy) = (try duplicate(bulk), try duplicate(sink))
    let sending = concurrently {
      let socket = Endpoint(Descriptor(owning: bulkCopy))
      let chunk = noise(200_000)
      // Until the test shuts the connection.
      while (try? socket.send(chunk)) != nil {}
    }
    let draining = concurrently {
      let socket = Endpoint(Descriptor(owning: sinkCopy))
      var buffer = [UInt8](repeating: 0, count: 1 << 18)
      while recv(socket.descriptor.raw, &buffer, buffer.count, 0) > 0 {}
    }
    let client = try Endpoint(.tcp, connectedTo: address)
    let server = try backend.accept()
    let start = monotonicMilliseconds()
    for _ in 0..<100 {
      try client.send([1])
      #expect(try server.receive() == [1])
      try server.send([2])
      #expect(try client.receive() == [2])
    }
    #expect(monotonicMilliseconds() - start < 5000)
    shutdown(bulk.descriptor.raw, Int32(SHUT_RDWR))
    shutdown(sink.descriptor.raw, Int32(SHUT_RDWR))
    sending.wait()
    draining.wait()
  }

  @Test func clientsBeyondTheCapWaitForTheirTurn() throws {
    var limits = ProxyLimits.current
    limits.connections = 2
    let (backend, address, proxy) = try proxied(limits: limits)
    try expectThirdClientToWait(backend, address, proxy)
  }

  /// The real thing: the proxy's thread has a table of descriptors of its own here, with five places left, the
  /// control channel's and the sockets' own among what fills it.
  @Test func clientsBeyondTheDescriptorsWaitForTheirTurn() throws {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, to: try backend.address())
    // 2 for each connection, 1 for epoll, none for the spare of a third.
    let proxy = keep(try RunningProxy([frontend], prepare: { leaveDescriptors(5, besides: $0) }))
    try expectThirdClientToWait(backend, frontend.address, proxy)
  }

  private func expectThirdClientToWait(
    _ backend: Endpoint,
    _ address: SocketAddress,
    _ proxy: RunningProxy
  ) throws {
    var first: Endpoint? = try Endpoint(.tcp, connectedTo: address)
    let firstServer = try backend.accept()
    let second = try Endpoint(.tcp, connectedTo: address)
    let secondServer = try backend.accept()
    let third = try Endpoint(.tcp, connectedTo: address)
    try third.send([3])
    backend.patience(0, milliseconds: 400)
    let before = proxy.processorMilliseconds
    #expect(throws: SystemError.self) { try backend.accept() }
    // Waiting is not spinning.
    #expect(proxy.processorMilliseconds - before < 100)
    backend.patience(10)
    first = nil
    _ = first
    firstServer.end()
    let thirdServer = try backend.accept()
    #expect(try thirdServer.receive() == [3])
    try second.send([2])
    #expect(try secondServer.receive() == [2])
  }

  private func duplicate(_ endpoint: Endpoint) throws -> Int32 {
    try syscall("fcntl") { fcntl(endpoint.descriptor.raw, F_DUPFD_CLOEXEC, 0) }
  }
}

/// Gives this thread a table of descriptors of its own, in which only those named are open and all but `count` of
/// the other places are taken.
private func leaveDescriptors(_ count: Int, besides kept: [Int32]) {
  typealias Unshare = @convention(c) (Int32) -> Int32
  guard let symbol = dlsym(nil, "unshare") else { return }
  guard unsafeBitCast(symbol, to: Unshare.self)(0x400) == 0 else { return }  // CLONE_FILES
  // Copies of other tests' sockets would keep their ends from coming.
  let limit = ProxyLimits.current.descriptors
  for number in 3..<Int32(clamping: limit) where !kept.contains(number) { close(number) }
  while dup(kept[0]) >= 0 {}
  var freed = 0
  for number in 3..<Int32(clamping: limit) where freed < count && !kept.contains(number) {
    close(number)
    freed += 1
  }
}
