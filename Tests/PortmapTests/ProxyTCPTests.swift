import CLinux
import Foundation
import Testing

@testable import portmap

@Suite(.ownDescriptors) struct ProxyTCPTests {
  private let keep = Keeper()

  /// A backend, a proxy in front of it, and a connection through both.
  private struct Line {
    let backend: Endpoint
    let frontend: RunningProxy.Frontend
    let proxy: RunningProxy
    let client: Endpoint
    let server: Endpoint

    init(on ip: String = "127.0.0.1", to backendIP: String = "127.0.0.1", header: ProxyProtocol? = nil) throws
    {
      backend = try Endpoint(.tcp, on: backendIP)
      frontend = try .init(.tcp, on: ip, to: try backend.address(), header: header)
      proxy = try RunningProxy([frontend])
      client = try Endpoint(.tcp, connectedTo: frontend.address)
      server = try backend.accept()
    }
  }

  @Test func clientEndsFirst() throws {
    let line = try Line()
    try line.client.send(Array("question".utf8))
    line.client.end()
    #expect(try line.server.receiveToEnd() == Array("question".utf8))
    try line.server.send(Array("answer".utf8))
    line.server.end()
    #expect(try line.client.receiveToEnd() == Array("answer".utf8))
  }

  @Test func backendEndsFirst() throws {
    let line = try Line()
    try line.server.send(Array("greeting".utf8))
    line.server.end()
    #expect(try line.client.receiveToEnd() == Array("greeting".utf8))
    try line.client.send(Array("reply".utf8))
    line.client.end()
    #expect(try line.server.receiveToEnd() == Array("reply".utf8))
  }

  @Test func resetOfTheClientReachesTheBackend() throws {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, to: try backend.address())
    keep(try RunningProxy([frontend]))
    func connectAndReset() throws -> Endpoint {
      let client = try Endpoint(.tcp, connectedTo: frontend.address)
      let server = try backend.accept()
      try client.send([1])
      #expect(try server.receive() == [1])
      client.reset()
      return server
    }
    #expect(try connectAndReset().readError() == ECONNRESET)
  }

  @Test func resetOfTheBackendReachesTheClientAfterItsData() throws {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, to: try backend.address())
    keep(try RunningProxy([frontend]))
    func connectAndBeReset() throws -> Endpoint {
      let client = try Endpoint(.tcp, connectedTo: frontend.address)
      let server = try backend.accept()
      try server.send([7])
      #expect(try client.receive() == [7])
      server.reset()
      return client
    }
    #expect(try connectAndBeReset().readError() == ECONNRESET)
  }

  @Test func refusedBackendResetsTheClient() throws {
    let free = SocketAddress(ownLoopbackAddress(), port: 20_000)
    let frontend = try RunningProxy.Frontend(.tcp, to: free)
    keep(try RunningProxy([frontend]))
    for _ in 0..<20 {
      let client = try Endpoint(.tcp, connectedTo: frontend.address)
      #expect(client.readError() == ECONNRESET)
    }
  }

  @Test func dataAndEndBeforeTheBackendHasAccepted() throws {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, to: try backend.address())
    keep(try RunningProxy([frontend]))
    for round in 0..<50 {
      let data = noise(1 + round * 1000, seed: UInt64(round))
      do {
        let client = try Endpoint(.tcp, connectedTo: frontend.address)
        try client.send(data)
      }
      #expect(try backend.accept().receiveToEnd() == data)
    }
  }

  @Test func clientsInARow() throws {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, to: try backend.address())
    keep(try RunningProxy([frontend]))
    let listener = backend.descriptor.raw
    let server = concurrently {
      for _ in 0..<500 {
        let connection = Endpoint(
          try Descriptor("accept4") { clinux_accept4(listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue)) }
        )
        try connection.send(try connection.receiveToEnd())
      }
    }
    for round in 0..<500 {
      let client = try Endpoint(.tcp, connectedTo: frontend.address)
      let data = noise(100, seed: UInt64(round))
      try client.send(data)
      client.end()
      #expect(try client.receiveToEnd() == data)
    }
    server.wait()
  }

  @Test(arguments: [
    ("127.0.0.1", "::1", "127.0.0.1"), ("::1", "127.0.0.1", "::1"), ("::", "127.0.0.1", "127.0.0.1"),
    ("::", "::1", "::1"),
  ])
  func families(frontend ip: String, backend backendIP: String, client clientIP: String) throws {
    let backend = try Endpoint(.tcp, on: backendIP)
    let frontend = try RunningProxy.Frontend(.tcp, on: ip, to: try backend.address())
    keep(try RunningProxy([frontend]))
    let target = try #require(IPAddress(clientIP))
    let client = try Endpoint(.tcp, connectedTo: SocketAddress(target, port: frontend.address.port))
    let server = try backend.accept()
    try client.send([1, 2, 3])
    #expect(try server.receive() == [1, 2, 3])
    try server.send([4])
    #expect(try client.receive() == [4])
  }

  @Test(arguments: [ProxyProtocol.v1, .v2]) func headerComesFirst(_ version: ProxyProtocol) throws {
    let backend = try Endpoint(.tcp)
    let frontend = try RunningProxy.Frontend(.tcp, on: "::", to: try backend.address(), header: version)
    keep(try RunningProxy([frontend]))
    for ip in ["127.0.0.1", "::1"] {
      let target = SocketAddress(try #require(IPAddress(ip)), port: frontend.address.port)
      let client = try Endpoint(.tcp, connectedTo: target)
      try client.send(Array("hello".utf8))
      client.end()
      let header = ProxyHeader.encode(version, client: try client.address(), server: target)
      #expect(try backend.accept().receiveToEnd() == header + Array("hello".utf8))
    }
  }

  @Test func urgentBytesStayInTheStream() throws {
    let line = try Line()
    try line.client.send([1, 2])
    #expect(send(line.client.descriptor.raw, [3], 1, Int32(MSG_OOB)) == 1)
    try line.client.send([4, 5])
    line.client.end()
    #expect(try line.server.receiveToEnd() == [1, 2, 3, 4, 5])
  }

  @Test func releaseClosesTheLeaseAtOnceAndNoOther() throws {
    let backend = try Endpoint(.tcp)
    let ip = ownLoopbackAddress().description
    let first = try RunningProxy.Frontend(.tcp, on: ip, to: try backend.address(), group: 1)
    let second = try RunningProxy.Frontend(.tcp, to: try backend.address(), group: 2)
    let proxy = keep(try RunningProxy([first, second]))
    let leaving = try Endpoint(.tcp, connectedTo: first.address)
    let leavingServer = try backend.accept()
    let staying = try Endpoint(.tcp, connectedTo: second.address)
    let stayingServer = try backend.accept()
    try proxy.release(group: 1)
    #expect(try leaving.receive() == [])
    #expect(try leavingServer.receive() == [])
    #expect(throws: SystemError.self) { try Endpoint(.tcp, connectedTo: first.address) }
    // The port is free again.
    _ = try Endpoint(.tcp, on: ip, port: first.address.port)
    try staying.send([5])
    #expect(try stayingServer.receive() == [5])
  }
}
