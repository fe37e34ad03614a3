import CLinux
import Foundation
import Testing

@testable import portmap

/// What the proxy says that it has carried, next to what went through.
@Suite(.ownDescriptors) struct ProxyCountTests {
  private let keep = Keeper()

  private func proxied(
    _ transport: Transport = .tcp,
    _ backend: SocketAddress,
    header: ProxyProtocol? = nil,
    timeout: Int = 90
  ) throws -> (address: SocketAddress, proxy: RunningProxy) {
    let frontend = try RunningProxy.Frontend(transport, to: backend, header: header, timeout: timeout)
    return (frontend.address, keep(try RunningProxy([frontend])))
  }

  /// Waits until the proxy has seen what the ends of its connections have done.
  private func settled(_ proxy: RunningProxy, open: UInt64 = 0, group: UInt8 = 1) throws -> ProxyCount {
    let deadline = monotonicMilliseconds() + 10_000
    while monotonicMilliseconds() < deadline {
      if let count = try proxy.count(ofGroup: group), count.open == open { return count }
      usleep(2000)
    }
    return try #require(try proxy.count(ofGroup: group))
  }

  private func expectRecent(_ failure: ProxyFailure?, _ errno: Int32) throws {
    let failure = try #require(failure)
    #expect(failure.errno == errno)
    #expect(abs(failure.time - Int64(time(nil))) <= 5)
  }

  // MARK: tcp

  @Test func nobodyHasComeYet() throws {
    let backend = try Endpoint(.tcp)
    #expect(try proxied(.tcp, backend.address()).proxy.count() == nil)
  }

  @Test(arguments: [nil, ProxyProtocol.v2])
  func halfClosedConnections(_ header: ProxyProtocol?) throws {
    let backend = try Endpoint(.tcp)
    let (address, proxy) = try proxied(.tcp, backend.address(), header: header)
    for round in 1...3 {
      let client = try Endpoint(.tcp, connectedTo: address)
      let server = try backend.accept()
      try client.send(noise(1000))
      client.end()
      // The header is the proxy's own.
      #expect(try server.receiveToEnd().count == 1000 + (header == nil ? 0 : 28))
      let half = try settled(proxy, open: 1)
      #expect(half.clients == UInt64(round) && half.bytesIn == UInt64(round * 1000))
      try server.send(noise(77))
      server.end()
      #expect(try client.receiveToEnd().count == 77)
    }
    let count = try settled(proxy)
    #expect(count == ProxyCount(clients: 3, open: 0, bytesIn: 3000, bytesOut: 231))
  }

  @Test(arguments: [1, 65_536, 300_001, 48 << 20])
  func bulkInBothDirections(_ size: Int) throws {
    let backend = try Endpoint(.tcp)
    let (address, proxy) = try proxied(.tcp, backend.address())
    let client = try Endpoint(.tcp, connectedTo: address)
    let server = try backend.accept()
    let data = noise(min(size, 1 << 20))
    let raw = try syscall("fcntl") { fcntl(client.descriptor.raw, F_DUPFD_CLOEXEC, 0) }
    let serverRaw = try syscall("fcntl") { fcntl(server.descriptor.raw, F_DUPFD_CLOEXEC, 0) }
    func send(_ total: Int, through raw: Int32) -> DispatchSemaphore {
      concurrently {
        let socket = Endpoint(Descriptor(owning: raw), patience: 60)
        for start in stride(from: 0, to: total, by: data.count) {
          try socket.send(Array(data.prefix(total - start)))
        }
        socket.end()
      }
    }
    let sending = send(size, through: raw)
    #expect(try receiveAll(server) == size)
    sending.wait()
    let answering = send(size + 5, through: serverRaw)
    #expect(try receiveAll(client) == size + 5)
    answering.wait()
    let count = try settled(proxy)
    #expect(count == ProxyCount(clients: 1, open: 0, bytesIn: UInt64(size), bytesOut: UInt64(size + 5)))
  }

  private func receiveAll(_ socket: Endpoint) throws -> Int {
    var total = 0
    while true {
      let part = try socket.receive(1 << 18)
      if part.isEmpty { return total }
      total += part.count
    }
  }

  @Test func aClientThatResetsHasNotFailed() throws {
    let backend = try Endpoint(.tcp)
    let (address, proxy) = try proxied(.tcp, backend.address())
    func connectAndReset() throws -> Endpoint {
      let client = try Endpoint(.tcp, connectedTo: address)
      let server = try backend.accept()
      try client.send([1, 2, 3])
      #expect(try server.receive() == [1, 2, 3])
      client.reset()
      return server
    }
    #expect(try connectAndReset().readError() == ECONNRESET)
    #expect(try settled(proxy) == ProxyCount(clients: 1, open: 0, bytesIn: 3, bytesOut: 0))
  }

  @Test func aBackendThatResetsHasFailed() throws {
    let backend = try Endpoint(.tcp)
    let (address, proxy) = try proxied(.tcp, backend.address())
    for round in 1...5 {
      let client = try Endpoint(.tcp, connectedTo: address)
      func answerAndReset() throws {
        let server = try backend.accept()
        try server.send([7])
        #expect(try client.receive() == [7])
        server.reset()
      }
      try answerAndReset()
      #expect(client.readError() == ECONNRESET)
      let count = try settled(proxy)
      #expect(count.clients == UInt64(round) && count.failed == UInt64(round))
      #expect(count.bytesIn == 0 && count.bytesOut == UInt64(round))
      try expectRecent(count.lastFailure, ECONNRESET)
    }
  }

  /// It is reset while bytes for it are under way: whichever call learns of it first, it is the backend's failure.
  @Test func aBackendThatResetsInTheMiddle() throws {
    let backend = try Endpoint(.tcp)
    let (address, proxy) = try proxied(.tcp, backend.address())
    for round in 1...20 {
      let client = try Endpoint(.tcp, connectedTo: address)
      func receiveAndReset() throws {
        let server = try backend.accept()
        try client.send(noise(200_000))
        _ = try server.receive(1000)
        server.reset()
      }
      try receiveAndReset()
      try? client.send(noise(200_000))
      let count = try settled(proxy)
      #expect(count.failed == UInt64(round))
      let error = try #require(count.lastFailure?.errno)
      #expect([ECONNRESET, EPIPE].contains(error))
    }
  }

  @Test func aBackendThatRefuses() throws {
    let free = SocketAddress(ownLoopbackAddress(), port: 20_000)
    let (address, proxy) = try proxied(.tcp, free)
    for _ in 0..<20 {
      let client = try Endpoint(.tcp, connectedTo: address)
      // It fails, or the next call does, as the refusal comes before it or after.
      try? client.send([1])
      _ = client.readError()
    }
    let count = try settled(proxy)
    #expect(count.clients == 20 && count.failed == 20 && count.bytesIn == 0)
    try expectRecent(count.lastFailure, ECONNREFUSED)
  }

  /// A broadcast address: connect(2) itself fails.
  @Test func aBackendThatNothingLeadsTo() throws {
    let nowhere = SocketAddress(try Samples.address("255.255.255.255"), port: 80)
    let (address, proxy) = try proxied(.tcp, nowhere)
    let client = try Endpoint(.tcp, connectedTo: address)
    #expect(client.readError() == ECONNRESET)
    let count = try settled(proxy)
    #expect(count.clients == 1 && count.failed == 1)
    #expect(count.lastFailure?.errno == ENETUNREACH, "\(count)")
  }

  @Test func groupsAreCountedApartAndForgotten() throws {
    let backend = try Endpoint(.tcp)
    let frontends = try (1...3).map {
      try RunningProxy.Frontend(.tcp, to: try backend.address(), group: $0 == 3 ? 2 : $0)
    }
    let proxy = keep(try RunningProxy(frontends))
    for (index, frontend) in frontends.enumerated() {
      let client = keep(try Endpoint(.tcp, connectedTo: frontend.address))
      try client.send(noise(index + 1))
      let server = keep(try backend.accept())
      #expect(try server.receive().count == index + 1)
    }
    #expect(try settled(proxy, open: 1) == ProxyCount(clients: 1, open: 1, bytesIn: 1))
    #expect(try settled(proxy, open: 2, group: 2) == ProxyCount(clients: 2, open: 2, bytesIn: 5))
    try proxy.release(group: 2)
    #expect(try proxy.count(ofGroup: 2) == nil)
    #expect(try proxy.count()?.open == 1)
  }

  // MARK: udp

  @Test func datagramsOfSeveralClients() throws {
    let backend = try Endpoint(.udp)
    let (address, proxy) = try proxied(.udp, backend.address())
    for size in [0, 1, 1400, 8192] {
      let client = keep(try Endpoint(.udp, connectedTo: address))
      for _ in 0..<10 {
        try client.send(noise(size))
        let (bytes, from) = try backend.receiveFrom()
        #expect(bytes.count == size)
        try backend.send(noise(3), to: from)
        #expect(try client.receive().count == 3)
      }
    }
    let count = try settled(proxy, open: 4)
    #expect(count == ProxyCount(clients: 4, open: 4, bytesIn: 10 * 9593, bytesOut: 120))
  }

  /// Datagrams that the kernel hands over, and takes, as one message.
  @Test func segments() throws {
    let backend = try Endpoint(.udp)
    backend.descriptor.setBufferSizes(receive: 4 << 20, send: 4 << 20)
    let (address, proxy) = try proxied(.udp, backend.address())
    let client = try Endpoint(.udp, connectedTo: address)
    #expect(client.descriptor.setOption(SocketLevel.udp, UDP_SEGMENT, Int32(1000)))
    for _ in 0..<3 {
      try client.send(noise(60_001))
      for _ in 0..<61 { _ = try backend.receive() }
    }
    #expect(try settled(proxy, open: 1) == ProxyCount(clients: 1, open: 1, bytesIn: 180_003))
  }

  @Test func clientsThatAreForgottenAreNotOpen() throws {
    let backend = try Endpoint(.udp)
    let (address, proxy) = try proxied(.udp, backend.address(), timeout: 1)
    let client = try Endpoint(.udp, connectedTo: address)
    try client.send([1])
    #expect(try settled(proxy, open: 1).open == 1)
    #expect(try settled(proxy) == ProxyCount(clients: 1, open: 0, bytesIn: 1))
  }

  /// A client whose datagrams are refused one after the other has failed once, until it gets an answer.
  @Test func aUDPBackendThatRefuses() throws {
    let ip = ownLoopbackAddress()
    let (address, proxy) = try proxied(.udp, SocketAddress(ip, port: 20_000))
    let clients = try (0..<3).map { _ in try Endpoint(.udp, connectedTo: address) }
    for round in 0..<5 {
      for client in clients { try client.send(noise(10 + round)) }
      usleep(5000)
    }
    var count = try settled(proxy, open: 3)
    #expect(count.clients == 3 && count.failed == 3 && count.bytesIn == 180, "\(count)")
    try expectRecent(count.lastFailure, ECONNREFUSED)
    do {
      let backend = try Endpoint(.udp, on: "\(ip)", port: 20_000)
      try clients[0].send([1])
      try backend.send([2], to: try backend.receiveFrom().from)
      #expect(try clients[0].receive() == [2])
    }
    try clients[0].send([3])
    let deadline = monotonicMilliseconds() + 10_000
    while count.failed < 4, monotonicMilliseconds() < deadline { count = try settled(proxy, open: 3) }
    #expect(count.failed == 4 && count.bytesIn == 182 && count.bytesOut == 1, "\(count)")
  }
}
