import CLinux
import Foundation
import Synchronization
import Testing

@testable import portmap

/// A proxy with an event loop on a thread of its own, as the background process has one.
final class RunningProxy {
  /// One socket to serve, made in the test and handed over to the proxy's thread.
  struct Frontend: Sendable {
    let socket: Int32
    let address: SocketAddress
    var route: ProxyRoute
    var group = 1

    init(
      _ transport: Transport,
      on ip: String = "127.0.0.1",
      to backend: SocketAddress,
      group: Int = 1,
      header: ProxyProtocol? = nil,
      timeout: Int = 90
    ) throws {
      let socket = try Endpoint(transport, on: ip)
      address = try socket.address()
      // A number of its own: the proxy closes it.
      self.socket = try syscall("fcntl") { fcntl(socket.descriptor.raw, F_DUPFD_CLOEXEC, 0) }
      route = ProxyRoute(transport: transport, backend: backend, proxyProtocol: header, udpTimeout: timeout)
      self.group = group
    }
  }

  private final class Control: EventHandler {
    let descriptor: Descriptor
    let loop: EventLoop
    let server: ProxyServer

    init(_ descriptor: Descriptor, _ loop: EventLoop, _ server: ProxyServer) {
      self.descriptor = descriptor
      self.loop = loop
      self.server = server
    }

    func handle(events: UInt32, tag: UInt32) {
      var group: UInt8 = 0
      guard read(descriptor.raw, &group, 1) == 1 else { return loop.stop() }
      if group & RunningProxy.question != 0 {
        return tell(server.count(ofGroup: Int(group ^ RunningProxy.question)))
      }
      server.release(group: Int(group))
      // Told after the turn, when everything is closed.
      loop.after(milliseconds: 0) { [descriptor] in _ = write(descriptor.raw, "x", 1) }
    }

    private func tell(_ count: ProxyCount?) {
      var writer = ByteWriter()
      writer.put(count != nil)
      HoldingCount(id: "", count: count ?? ProxyCount()).encode(to: &writer)
      _ = write(descriptor.raw, writer.bytes, writer.bytes.count)
    }
  }

  /// Marks a group's number as a question for what it has carried.
  private static let question: UInt8 = 0x80

  private let control: Endpoint
  private let clock: clockid_t
  private let ended = DispatchSemaphore(value: 0)

  /// `prepare` runs on the proxy's thread before anything else does.
  init(
    _ frontends: [Frontend],
    limits: ProxyLimits = .current,
    prepare: @escaping @Sendable ([Int32]) -> Void = { _ in }
  ) throws {
    var ends: [Int32] = [0, 0]
    try syscall("socketpair") {
      socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends)
    }
    control = Endpoint(Descriptor(owning: ends[0]))
    let inner = ends[1]
    let ended = ended
    let ready = DispatchSemaphore(value: 0)
    let clock = Mutex<clockid_t>(0)
    Thread.detachNewThread {
      clock.withLock { _ = pthread_getcpuclockid(pthread_self(), &$0) }
      prepare(frontends.map(\.socket) + [inner])
      do {
        let loop = try EventLoop()
        let server = ProxyServer(loop: loop, limits: limits)
        for frontend in frontends {
          try server.serve(Descriptor(owning: frontend.socket), route: frontend.route, group: frontend.group)
        }
        let control = Control(Descriptor(owning: inner), loop, server)
        let registration = try loop.add(control.descriptor, events: Readiness.input, handler: control)
        ready.signal()
        try loop.run()
        loop.remove(registration)
        server.closeAll()
      } catch {
        fatalError("\(error)")
      }
      ended.signal()
    }
    ready.wait()
    self.clock = clock.withLock { $0 }
  }

  /// The processor time that the proxy's thread has taken.
  var processorMilliseconds: Int {
    var time = timespec()
    clock_gettime(clock, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }

  deinit {
    shutdown(control.descriptor.raw, Int32(SHUT_RDWR))
    ended.wait()
  }

  /// Waits until the proxy has dealt with what had arrived before.
  func catchUp() throws { try release(group: 0) }

  /// What a group has carried.
  func count(ofGroup group: UInt8 = 1) throws -> ProxyCount? {
    try control.send([group | Self.question])
    var reader = ByteReader(try control.receive(100)[...])
    guard let isUsed = reader.flag(), let told = HoldingCount(from: &reader) else { return nil }
    return isUsed ? told.count : nil
  }

  func release(group: UInt8) throws {
    try control.send([group])
    _ = try control.receive(1)
  }
}

/// A blocking socket whose calls give up after some seconds instead of hanging the tests.
///
/// None is inherited: a program that another test starts at the same time would keep it open.
struct Endpoint {
  let descriptor: Descriptor

  init(_ descriptor: Descriptor, patience: Int = 10) {
    self.descriptor = descriptor
    self.patience(patience)
  }

  /// Binds a free port, and listens if the transport does.
  init(_ transport: Transport, on ip: String = "127.0.0.1", port: UInt16 = 0) throws {
    guard let address = IPAddress(ip) else {
      throw SystemError(call: "inet_pton", errno: EINVAL, subject: ip)
    }
    self.init(try Self.open(transport, address.family))
    if address.family == .v6 { descriptor.setOption(Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0) }
    if transport == .tcp { descriptor.setOption(SOL_SOCKET, SO_REUSEADDR, 1) }
    try syscall("bind") {
      SocketAddress(address, port: port).withSockaddr { bind(descriptor.raw, $0, $1) }
    }
    if transport == .tcp { try syscall("listen") { listen(descriptor.raw, 128) } }
  }

  init(_ transport: Transport, connectedTo address: SocketAddress) throws {
    self.init(try Self.open(transport, address.ip.family))
    try syscall("connect") { address.withSockaddr { connect(descriptor.raw, $0, $1) } }
  }

  private static func open(_ transport: Transport, _ family: IPAddress.Family) throws -> Descriptor {
    let kind = transport == .udp ? SOCK_DGRAM : SOCK_STREAM
    return try Descriptor("socket") {
      socket(family == .v4 ? AF_INET : AF_INET6, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue), 0)
    }
  }

  func patience(_ seconds: Int, milliseconds: Int = 0) {
    var time = timeval(tv_sec: seconds, tv_usec: milliseconds * 1000)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor.raw, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
    }
  }

  func address() throws -> SocketAddress {
    guard let address = try SocketAddress.local(of: descriptor) else {
      throw SystemError(call: "getsockname", errno: EAFNOSUPPORT)
    }
    return address
  }

  func accept() throws -> Endpoint {
    Endpoint(
      try Descriptor("accept4") { clinux_accept4(descriptor.raw, nil, nil, Int32(SOCK_CLOEXEC.rawValue)) }
    )
  }

  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    repeat {
      sent += try bytes.withUnsafeBytes { all throws(SystemError) in
        try syscall("send") {
          Glibc.send(descriptor.raw, all.baseAddress.map { $0 + sent }, all.count - sent, Int32(MSG_NOSIGNAL))
        }
      }
    } while sent < bytes.count
  }

  /// One read, of at most `count` bytes: an empty array is the end of a stream, or an empty datagram.
  func receive(_ count: Int = 70_000) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let received = try syscall("recv") { recv(descriptor.raw, &bytes, count, 0) }
    return Array(bytes[..<received])
  }

  func receiveToEnd() throws -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let part = try receive(1 << 18)
      if part.isEmpty { return all }
      all += part
    }
  }

  /// A datagram and who sent it.
  func receiveFrom() throws -> (bytes: [UInt8], from: SocketAddress) {
    var bytes = [UInt8](repeating: 0, count: 70_000)
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let received = try withUnsafeMutablePointer(to: &storage) { pointer throws(SystemError) in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address throws(SystemError) in
        try syscall("recvfrom") { recvfrom(descriptor.raw, &bytes, bytes.count, 0, address, &length) }
      }
    }
    let from = withUnsafePointer(to: storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { SocketAddress($0) }
    }
    guard let from else { throw SystemError(call: "recvfrom", errno: EAFNOSUPPORT) }
    return (Array(bytes[..<received]), from)
  }

  func send(_ bytes: [UInt8], to address: SocketAddress) throws {
    try syscall("sendto") {
      address.withSockaddr { sendto(descriptor.raw, bytes, bytes.count, 0, $0, $1) }
    }
  }

  /// Says that no more will be sent.
  func end() { shutdown(descriptor.raw, Int32(SHUT_WR)) }

  /// Has the close of the descriptor be a reset.
  func reset() { descriptor.setAbortOnClose() }

  /// The errno of the next read, 0 when it succeeds.
  func readError() -> Int32 {
    do {
      _ = try receive(1)
      return 0
    } catch {
      return (error as? SystemError)?.errno ?? -1
    }
  }
}

/// Runs `body` on a thread of its own: tests share a small pool, which must not be blocked by both ends of a talk.
func concurrently(_ body: @escaping @Sendable () throws -> Void) -> DispatchSemaphore {
  let done = DispatchSemaphore(value: 0)
  Thread.detachNewThread {
    do { try body() } catch { Issue.record(error, "in the background") }
    done.signal()
  }
  return done
}

/// Bytes that look random and are the same for the same seed.
func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
  return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
    for index in 0..<count {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      buffer[index] = UInt8(truncatingIfNeeded: state)
    }
    initialized = count
  }
}
