import CLinux
import Foundation
import Testing

@testable import portmap

@Suite(.ownDescriptors) struct ProxyUDPTests {
  private let keep = Keeper()

  /// A backend that sends every datagram back, until it gets one that says so.
  private final class Echo {
    let address: SocketAddress
    private let done: DispatchSemaphore

    init(on ip: String = "127.0.0.1") throws {
      let endpoint = try Endpoint(.udp, on: ip)
      endpoint.descriptor.setBufferSizes(receive: 4 << 20, send: 4 << 20)
      address = try endpoint.address()
      let raw = try syscall("fcntl") { fcntl(endpoint.descriptor.raw, F_DUPFD_CLOEXEC, 0) }
      done = concurrently {
        let endpoint = Endpoint(Descriptor(owning: raw), patience: 60)
        while true {
          let (bytes, from) = try endpoint.receiveFrom()
          if bytes == Array("end of echo".utf8) { return }
          try endpoint.send(bytes, to: from)
        }
      }
    }

    deinit {
      try? Endpoint(.udp, connectedTo: address).send(Array("end of echo".utf8))
      done.wait()
    }
  }

  /// Starts a proxy in front of a backend, and returns where.
  private func proxied(
    _ backend: SocketAddress,
    on ip: String = "127.0.0.1",
    timeout: Int = 90,
    limits: ProxyLimits = .current
  ) throws -> SocketAddress {
    let frontend = try RunningProxy.Frontend(.udp, on: ip, to: backend, timeout: timeout)
    keep(try RunningProxy([frontend], limits: limits))
    return frontend.address
  }

  @Test func sizesAndOrderOfSeveralClientsAreKept() throws {
    let echo = try Echo()
    let address = try proxied(echo.address)
    let clients = try (0..<5).map { _ in try Endpoint(.udp, connectedTo: address) }
    let sizes = [1400, 1400, 1400, 37, 1400, 0, 1, 1400, 1401, 1400, 8192, 8192, 3, 3, 3, 2]
    for client in clients { client.descriptor.setBufferSizes(receive: 4 << 20, send: 4 << 20) }
    for round in 0..<20 {
      for (index, size) in sizes.enumerated() {
        for (number, client) in clients.enumerated() {
          try client.send(noise(size, seed: UInt64(round * 1000 + index * 10 + number)))
        }
      }
      for (number, client) in clients.enumerated() {
        for (index, size) in sizes.enumerated() {
          let expected = noise(size, seed: UInt64(round * 1000 + index * 10 + number))
          #expect(try client.receive() == expected, "client \(number), datagram \(index)")
        }
      }
    }
  }

  /// A sender that has the kernel cut its datagrams, and a backend that gets them one by one.
  @Test(arguments: [(1000, 64_000), (1000, 63_001), (500, 1000), (1200, 1201), (1, 60)])
  func segmentsBecomeDatagrams(size: Int, total: Int) throws {
    let backend = try Endpoint(.udp)
    backend.descriptor.setBufferSizes(receive: 4 << 20, send: 4 << 20)
    let address = try proxied(try backend.address())
    let client = try Endpoint(.udp, connectedTo: address)
    #expect(client.descriptor.setOption(SocketLevel.udp, UDP_SEGMENT, Int32(size)))
    let data = noise(total)
    for _ in 0..<3 {
      try client.send(data)
      for start in stride(from: 0, to: total, by: size) {
        let (bytes, from) = try backend.receiveFrom()
        #expect(bytes == Array(data[start..<min(start + size, total)]))
        try backend.send(bytes, to: from)
      }
      for start in stride(from: 0, to: total, by: size) {
        #expect(try client.receive() == Array(data[start..<min(start + size, total)]))
      }
    }
  }

  @Test func emptyAndLargest() throws {
    let echo = try Echo()
    let address = try proxied(echo.address)
    let client = try Endpoint(.udp, connectedTo: address)
    for size in [0, 65_507, 0, 1, 65_507] {
      try client.send(noise(size))
      #expect(try client.receive() == noise(size))
    }
  }

  @Test func backendThatComesLater() throws {
    let place = SocketAddress(ownLoopbackAddress(), port: 20_000)
    let frontend = try RunningProxy.Frontend(.udp, to: place)
    let proxy = keep(try RunningProxy([frontend]))
    let client = try Endpoint(.udp, connectedTo: frontend.address)
    for _ in 0..<5 {
      try client.send([1])
      try proxy.catchUp()
    }
    let backend = try Endpoint(.udp, on: place.ip.description, port: place.port)
    // The first may still be told of the last refusal, but is not lost by it.
    try client.send([2])
    let (bytes, from) = try backend.receiveFrom()
    #expect(bytes == [2])
    try backend.send([3], to: from)
    #expect(try client.receive() == [3])
  }

  @Test func datagramThatWaitedForTheProxy() throws {
    let backend = try Endpoint(.udp)
    let frontend = try RunningProxy.Frontend(.udp, to: try backend.address())
    let client = try Endpoint(.udp, connectedTo: frontend.address)
    try client.send([1])
    keep(try RunningProxy([frontend]))
    let first = try backend.receiveFrom()
    #expect(first.bytes == [1])
    try client.send([2])
    #expect(try backend.receiveFrom().from == first.from)
    try backend.send([3], to: first.from)
    #expect(try client.receive() == [3])
  }

  @Test func answersComeFromTheAddressWrittenTo() throws {
    let echo = try Echo()
    for ip in ["0.0.0.0", "::"] {
      let address = try proxied(echo.address, on: ip)
      let client = try Endpoint(.udp)
      for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let target = SocketAddress(try #require(IPAddress(host)), port: address.port)
        try client.send([9], to: target)
        #expect(try client.receiveFrom().from == target)
      }
    }
  }

  @Test(arguments: [
    ("127.0.0.1", "::1", "127.0.0.1"), ("::1", "127.0.0.1", "::1"), ("::", "127.0.0.1", "::1"),
    ("::", "::1", "127.0.0.1"),
  ])
  func families(frontend ip: String, backend backendIP: String, client clientIP: String) throws {
    let echo = try Echo(on: backendIP)
    let address = try proxied(echo.address, on: ip)
    let target = try #require(IPAddress(clientIP))
    let client = try Endpoint(.udp, connectedTo: SocketAddress(target, port: address.port))
    for size in [0, 1, 1400, 1400, 9000] {
      try client.send(noise(size))
      #expect(try client.receive() == noise(size))
    }
  }

  @Test func silenceInBothDirectionsForgetsAClient() throws {
    let backend = try Endpoint(.udp)
    let address = try proxied(try backend.address(), timeout: 1)
    let client = try Endpoint(.udp, connectedTo: address)
    try client.send([1])
    let first = try backend.receiveFrom().from
    // The pauses are the point. The backend's datagrams alone keep it, then the client's alone.
    for _ in 0..<4 {
      usleep(500_000)
      try backend.send([2], to: first)
      #expect(try client.receive() == [2])
    }
    for _ in 0..<4 {
      usleep(500_000)
      try client.send([3])
      #expect(try backend.receiveFrom().from == first)
    }
    usleep(1_800_000)
    try client.send([4])
    #expect(try backend.receiveFrom().from != first)
  }

  @Test func newClientsTakeThePlaceOfTheLongestSilent() throws {
    let echo = try Echo()
    var limits = ProxyLimits.current
    limits.udpClients = 10
    let address = try proxied(echo.address, limits: limits)
    let before = try openDescriptors()
    let regular = try Endpoint(.udp, connectedTo: address)
    for number in 0..<300 {
      let client = try Endpoint(.udp, connectedTo: address)
      try client.send([UInt8(number & 0xFF)])
      #expect(try client.receive() == [UInt8(number & 0xFF)])
      try regular.send([1])
      #expect(try regular.receive() == [1])
    }
    // The regular client, ten that the proxy remembers and one that it makes room for.
    #expect(try openDescriptors() < before + 20)
  }

  @Test func clientsThatWereAnsweredStayWhenOthersMakeRoom() throws {
    let backend = try Endpoint(.udp)
    var limits = ProxyLimits.current
    limits.udpClients = 10
    let address = try proxied(try backend.address(), limits: limits)
    let regular = try Endpoint(.udp, connectedTo: address)
    try regular.send([1])
    let first = try backend.receiveFrom().from
    try backend.send([2], to: first)
    #expect(try regular.receive() == [2])
    for _ in 0..<50 {
      try Endpoint(.udp, connectedTo: address).send([3])
      _ = try backend.receiveFrom()
    }
    try regular.send([4])
    #expect(try backend.receiveFrom().from == first)
  }

  @Test func releaseForgetsTheClientsOfAGroup() throws {
    let echo = try Echo()
    let ip = ownLoopbackAddress().description
    let first = try RunningProxy.Frontend(.udp, on: ip, to: echo.address, group: 1)
    let second = try RunningProxy.Frontend(.udp, to: echo.address, group: 2)
    let proxy = keep(try RunningProxy([first, second]))
    let leaving = try Endpoint(.udp, connectedTo: first.address)
    let staying = try Endpoint(.udp, connectedTo: second.address)
    for client in [leaving, staying] {
      try client.send([1])
      #expect(try client.receive() == [1])
    }
    try proxy.release(group: 1)
    _ = try Endpoint(.udp, on: ip, port: first.address.port)
    try staying.send([2])
    #expect(try staying.receive() == [2])
  }

  /// The number of descriptors of this thread's table, which is the proxy's, too.
  private func openDescriptors() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/thread-self/fd").count
  }
}
