import CLinux
import Glibc

/// What a message of SCTP has besides its bytes.
struct SCTPLabel: Equatable {
  var stream: UInt16 = 0
  /// The payload protocol, in the order of the wire: what the peers agree on is nothing to the kernel or to us.
  var payloadProtocol: UInt32 = 0
  /// Whether it may overtake others of its stream.
  var isUnordered = false
}

/// Messages of one-to-one SCTP sockets, and parts of them (RFC 6458; the kernel's side is <linux/sctp.h>).
enum SCTPMessage {
  enum Arrival {
    /// Bytes of a message; the last ones of it are marked.
    case part(Int, SCTPLabel, isLast: Bool)
    /// Something that the kernel tells about the association, to whoever had asked before us.
    case notification
    case ended
    case notNow
    case failed(Int32)
  }

  /// MSG_EOR and MSG_NOTIFICATION.
  private static let endOfRecord: Int32 = 0x80
  private static let notification: Int32 = 0x8000

  static func receive(from socket: Descriptor, into buffer: UnsafeMutableRawBufferPointer) -> Arrival {
    withMessage(UnsafeRawBufferPointer(buffer)) { message, _ in
      message.pointee.msg_controllen = ControlWriter.size
      switch attempt("recvmsg", { recvmsg(socket.raw, message, 0) }) {
      case .notNow: return .notNow
      case .failed(let code): return .failed(code)
      case .done(0): return .ended
      case .done(let count):
        let flags = message.pointee.msg_flags
        if flags & Self.notification != 0 { return .notification }
        return .part(count, SCTPLabel(message), isLast: flags & Self.endOfRecord != 0)
      }
    }
  }

  /// Sends a whole message, or none of it.
  static func send(_ bytes: UnsafeRawBufferPointer, _ label: SCTPLabel, to socket: Descriptor) -> Outcome {
    withMessage(bytes) { message, control in
      var writer = ControlWriter(control)
      writer.setLabel(label)
      message.pointee.msg_controllen = writer.length
      return attempt("sendmsg") { sendmsg(socket.raw, message, Int32(MSG_NOSIGNAL)) }
    }
  }

  /// A message header with one buffer, and space for control messages of which nothing is used yet.
  private static func withMessage<Result>(
    _ bytes: UnsafeRawBufferPointer,
    _ body: (UnsafeMutablePointer<msghdr>, UnsafeMutableRawPointer) -> Result
  ) -> Result {
    withUnsafeTemporaryAllocation(byteCount: ControlWriter.size, alignment: 16) { control in
      // Not nil: it has a size.
      guard let space = control.baseAddress else { fatalError("no space for control messages") }
      var part = iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
      return withUnsafeMutablePointer(to: &part) { part in
        var message = msghdr()
        message.msg_iov = part
        message.msg_iovlen = 1
        message.msg_control = space
        return body(&message, space)
      }
    }
  }
}

extension SCTPLabel {
  /// From the control messages of a received message; stream 0 where the kernel tells nothing.
  init(_ message: UnsafeMutablePointer<msghdr>) {
    var next = clinux_cmsg_first(message)
    while let header = next {
      let isLabel =
        header.pointee.cmsg_level == SocketConstant.solSCTP
        && header.pointee.cmsg_type == SocketConstant.sctpReceiveInfo
      if isLabel, let data = UnsafeRawPointer(clinux_cmsg_data(header)) {
        // struct sctp_rcvinfo: stream, sequence number, flags, payload protocol, and what is of no use here.
        stream = data.loadUnaligned(as: UInt16.self)
        let flags = data.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
        isUnordered = flags & SocketConstant.sctpUnordered != 0
        payloadProtocol = data.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
      }
      next = clinux_cmsg_next(message, header)
    }
  }
}

extension ControlWriter {
  /// Has the message go out with a label.
  mutating func setLabel(_ label: SCTPLabel) {
    append(SocketConstant.solSCTP, SocketConstant.sctpSendInfo, 16) {
      // struct sctp_sndinfo: stream, flags, payload protocol, a number to be told errors with, the association.
      $0.storeBytes(of: label.stream, as: UInt16.self)
      $0.storeBytes(
        of: label.isUnordered ? SocketConstant.sctpUnordered : 0,
        toByteOffset: 2,
        as: UInt16.self
      )
      $0.storeBytes(of: label.payloadProtocol, toByteOffset: 4, as: UInt32.self)
      $0.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
    }
  }
}
