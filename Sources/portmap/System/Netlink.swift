import CLinux
import Glibc

/// A client of a part of the kernel, its netfilter subsystems unless another is named, over a netlink socket of the
/// network namespace that it was made in.
///
/// Theory of operation. Each request has a sequence number that its answers repeat. The kernel works on requests while
/// they are being sent, and on the next part of a dump while one is being received: what it has to say is there when
/// it is asked for, so a wait only happens where something is wrong, and it has an end. A dump ends with NLMSG_DONE,
/// any other request with an NLMSG_ERROR, whose number is 0 where it was carried out; that one is only sent for the
/// last of several requests and for those that fail. Answers that the socket has no room for are lost, which the next
/// receive reports (ENOBUFS).
final class Netlink {
  private let socket: Descriptor
  private var sequence: UInt32 = 0
  private var buffer = [UInt8](repeating: 0, count: longestDatagram)
  /// A signal that had come before does not end a wait: what happens since then is the undoing.
  private let earlierSignal = clinux_caught_signal()

  /// No part of a dump is longer.
  private static let longestDatagram = 32768
  /// How often an answer is waited for, and for how many milliseconds each time: five seconds in all.
  private static let waits = 50
  private static let wait: Int32 = 100

  /// - Parameter part: The part of the kernel, NETLINK_….
  /// - Throws: SystemError: EPROTONOSUPPORT or EAFNOSUPPORT where there is no such socket.
  init(_ part: Int32 = NETLINK_NETFILTER) throws(SystemError) {
    socket = try Descriptor("socket") {
      Glibc.socket(AF_NETLINK, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), part)
    }
    var kernel = sockaddr_nl()
    kernel.nl_family = sa_family_t(AF_NETLINK)
    // Connected to the kernel, it hears of nobody else.
    try syscall("connect") {
      withUnsafePointer(to: kernel) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(socket.raw, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
        }
      }
    }
  }

  /// Runs `body` with a client of its own, and again where answers were lost on the way: three times at most.
  static func withClient<Result>(
    of part: Int32 = NETLINK_NETFILTER,
    _ body: (Netlink) throws -> Result
  ) throws -> Result {
    for _ in 0..<2 {
      do {
        return try body(Netlink(part))
      } catch let error as SystemError where error.errno == ENOBUFS {
        continue
      }
    }
    return try body(Netlink(part))
  }

  /// Carries out one request.
  ///
  /// - Parameter answer: Called with each message that belongs to the answer.
  /// - Throws: SystemError with the errno by which the kernel has refused it: EPERM without CAP_NET_ADMIN, EINVAL
  ///   where the subsystem is not there.
  func request(_ request: NetlinkRequest, _ answer: (NetlinkMessage) -> Void) throws {
    if let refusal = try exchange([request][...], answer).first { throw Self.error(refusal) }
  }

  /// Carries out many requests, a batch of them in one system call.
  ///
  /// - Returns: The errno of each that failed, in their order.
  func request(_ requests: [NetlinkRequest]) throws -> [Int32] {
    var refusals: [Int32] = []
    for start in stride(from: 0, to: requests.count, by: Self.requestsPerBatch) {
      let end = min(start + Self.requestsPerBatch, requests.count)
      refusals += try exchange(requests[start..<end]) { _ in }
    }
    return refusals
  }

  /// The refusals of so many requests have room in the socket's buffer: those of 200 have, those of 300 have not.
  private static let requestsPerBatch = 100

  private func exchange(_ requests: ArraySlice<NetlinkRequest>, _ answer: (NetlinkMessage) -> Void) throws
    -> [Int32]
  {
    let first = sequence &+ 1
    var bytes: [UInt8] = []
    for (index, request) in zip(requests.indices, requests) {
      sequence &+= 1
      let isAcknowledged = index == requests.indices.last && !request.isDump
      request.append(to: &bytes, sequence: sequence, flags: isAcknowledged ? UInt16(NLM_F_ACK) : 0)
    }
    try syscall("send") { Glibc.send(socket.raw, bytes, bytes.count, 0) }
    var refusals: [Int32] = []
    while true {
      for message in NetlinkMessages(try receive()) where message.sequence &- first <= sequence &- first {
        switch Int32(message.type) {
        case NLMSG_DONE, NLMSG_ERROR:
          if let errno = message.errno, errno != 0 { refusals.append(errno) }
          if message.sequence == sequence { return refusals }
        default:
          // The kernel has noticed that it has left something out.
          if message.flags & UInt16(NLM_F_DUMP_INTR) != 0 { throw Self.error(ENOBUFS) }
          answer(message)
        }
      }
    }
  }

  /// One datagram with one message or several.
  private func receive() throws -> ArraySlice<UInt8> {
    let flags = Int32(MSG_DONTWAIT | MSG_TRUNC)
    while true {
      let count = try nonblocking("recv") { recv(socket.raw, &buffer, buffer.count, flags) }
      guard let count else {
        try waitForInput()
        continue
      }
      // The length of a datagram that did not fit is told in full.
      guard count <= buffer.count else { throw Self.error(EMSGSIZE) }
      return buffer[..<count]
    }
  }

  private func waitForInput() throws {
    var request = pollfd(fd: socket.raw, events: Int16(POLLIN), revents: 0)
    for _ in 0..<Self.waits {
      if poll(&request, 1, Self.wait) > 0 { return }
      if clinux_caught_signal() != earlierSignal { try Interruption.check() }
    }
    throw Self.error(ETIMEDOUT)
  }

  private static func error(_ errno: Int32) -> SystemError { SystemError(call: "netlink", errno: errno) }
}
