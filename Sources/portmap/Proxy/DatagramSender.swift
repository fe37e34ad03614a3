import CLinux
import Glibc

/// The way that a udp client's datagrams go.
enum DatagramDirection {
  case toBackend, toClient
}

/// A sender of datagrams in batches: a run of one client and size goes as one message that the kernel cuts
/// (UDP_SEGMENT), and the messages for one socket go in one call.
///
/// A message that the kernel refuses to cut (a size that the route does not take, a device that cannot) goes out
/// again as single datagrams, and that client's are not joined any more. Any other error costs that datagram: this
/// is UDP, and an error of one flow must not touch another.
final class DatagramSender {
  private struct Message {
    let client: UDPClient
    let direction: DatagramDirection
    let firstVector: Int
    var run: DatagramRun
    var sourceControlLength = 0
  }

  private static let capacity = 64
  private let headers: UnsafeMutablePointer<clinux_mmsghdr>
  private let vectors: UnsafeMutablePointer<iovec>
  private let names: UnsafeMutablePointer<sockaddr_in6>
  private let controls: UnsafeMutableRawPointer
  private var messages: [Message] = []
  private var vectorCount = 0

  init() {
    headers = .allocate(capacity: Self.capacity)
    vectors = .allocate(capacity: Self.capacity)
    names = .allocate(capacity: Self.capacity)
    controls = .allocate(byteCount: Self.capacity * ControlWriter.size, alignment: 16)
    headers.initialize(repeating: clinux_mmsghdr(), count: Self.capacity)
    vectors.initialize(repeating: iovec(), count: Self.capacity)
    names.initialize(repeating: sockaddr_in6(), count: Self.capacity)
    messages.reserveCapacity(Self.capacity)
  }

  deinit {
    headers.deallocate()
    vectors.deallocate()
    names.deallocate()
    controls.deallocate()
  }

  /// Queues a received message. All that is queued until `flush` must be for one socket.
  func add(
    _ payload: UnsafeMutableRawPointer,
    _ piece: DatagramPiece,
    of client: UDPClient,
    _ direction: DatagramDirection
  ) {
    if client.joins(direction) {
      append(payload, piece, client, direction)
    } else {
      for datagram in 0..<piece.count {
        let offset = datagram * piece.datagramSize
        let single = DatagramPiece(length: min(piece.datagramSize, piece.length - offset), segment: 0)
        append(payload + offset, single, client, direction)
      }
    }
  }

  private func append(
    _ payload: UnsafeMutableRawPointer,
    _ piece: DatagramPiece,
    _ client: UDPClient,
    _ direction: DatagramDirection
  ) {
    if vectorCount == Self.capacity { flush() }
    let last = messages.count - 1
    if last < 0 || messages[last].client !== client || !client.joins(direction)
      || !messages[last].run.append(piece)
    {
      messages.append(
        Message(client: client, direction: direction, firstVector: vectorCount, run: DatagramRun(piece))
      )
    }
    vectors[vectorCount] = iovec(iov_base: payload, iov_len: piece.length)
    vectorCount += 1
  }

  /// Sends what is queued.
  func flush() {
    guard let first = messages.first else { return }
    for index in messages.indices { prepare(index) }
    let socket = first.direction == .toBackend ? first.client.socket.raw : first.client.frontend.socket.raw
    var sent = 0
    var isRetry = false
    while sent < messages.count {
      switch transmit(socket, from: sent) {
      case .done(let count):
        sent += max(1, count)
        isRetry = false
      case .notNow:
        // The device's queue is full, for the rest too.
        sent = messages.count
      case .failed(let code):
        // The error may be an earlier datagram's (ECONNREFUSED, say), told to whoever asks next: once again.
        if !isRetry && recover(sent, from: code) {
          isRetry = true
        } else {
          sent += 1
          isRetry = false
        }
      }
    }
    messages.removeAll(keepingCapacity: true)
    vectorCount = 0
  }

  private func transmit(_ socket: Int32, from first: Int) -> Outcome {
    let count = UInt32(messages.count - first)
    let header = headers[first].msg_hdr
    if count == 1, header.msg_iovlen == 1, header.msg_name == nil, header.msg_control == nil {
      // The commonest case, one datagram to the backend, has a cheaper call.
      let part = header.msg_iov.pointee
      switch attempt("send", { send(socket, part.iov_base, part.iov_len, Int32(MSG_DONTWAIT)) }) {
      case .done: return .done(1)
      case let other: return other
      }
    }
    return attempt("sendmmsg") {
      Int(clinux_sendmmsg(socket, headers + first, count, Int32(MSG_DONTWAIT)))
    }
  }

  private func prepare(_ index: Int) {
    let message = messages[index]
    var header = msghdr()
    header.msg_iov = vectors + message.firstVector
    header.msg_iovlen = message.run.pieces
    let control = controls + index * ControlWriter.size
    var writer = ControlWriter(control)
    if message.direction == .toClient {
      header.msg_name = UnsafeMutableRawPointer(names + index)
      header.msg_namelen = message.client.address.withSockaddr { pointer, length in
        memcpy(names + index, pointer, Int(length))
        return length
      }
      if let source = message.client.source { writer.setSource(source, interface: message.client.interface) }
    }
    messages[index].sourceControlLength = writer.length
    if message.run.count > 1 { writer.setSegment(message.run.segment) }
    header.msg_control = writer.length > 0 ? control : nil
    header.msg_controllen = writer.length
    headers[index].msg_hdr = header
  }

  /// Changes a message that failed into one that may not. False when it has been dealt with for good.
  private func recover(_ index: Int, from code: Int32) -> Bool {
    let message = messages[index]
    let isRefusal = code == EINVAL || code == EIO || code == EMSGSIZE || code == EOPNOTSUPP
    if message.run.count > 1 && isRefusal {
      message.client.stopJoining(message.direction)
      sendSingly(index)
      return false
    }
    if message.direction == .toBackend { message.client.fail(code) }
    if code == EINVAL && message.sourceControlLength > 0 {
      // The address that the client wrote to is none that one can write from: it has left this host since, say.
      message.client.source = nil
      headers[index].msg_hdr.msg_controllen = 0
      headers[index].msg_hdr.msg_control = nil
    }
    return true
  }

  private func sendSingly(_ index: Int) {
    let message = messages[index]
    let socket =
      message.direction == .toBackend ? message.client.socket.raw : message.client.frontend.socket.raw
    var header = headers[index].msg_hdr
    header.msg_controllen = message.sourceControlLength
    if message.sourceControlLength == 0 { header.msg_control = nil }
    header.msg_iovlen = 1
    for vector in message.firstVector..<message.firstVector + message.run.pieces {
      let whole = vectors[vector]
      for offset in stride(from: 0, to: whole.iov_len, by: message.run.segment) {
        var part = iovec(
          iov_base: whole.iov_base + offset,
          iov_len: min(message.run.segment, whole.iov_len - offset)
        )
        withUnsafeMutablePointer(to: &part) {
          header.msg_iov = $0
          _ = attempt("sendmsg") { Glibc.sendmsg(socket, &header, Int32(MSG_DONTWAIT)) }
        }
      }
    }
  }
}
