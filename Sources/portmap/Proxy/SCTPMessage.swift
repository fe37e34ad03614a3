import CLinux
import Glibc

/// The attributes that travel with the bytes of an SCTP message.
struct SCTPLabel: Equatable {
  var stream: UInt16 = 0
  /// The payload protocol in network byte order, as it came: only the two ends read it.
  var payloadProtocol: UInt32 = 0
  /// Whether it may overtake others of its stream.
  var isUnordered = false
}

/// Messages of one-to-one SCTP sockets, and parts of them (RFC 6458; the kernel's side is <linux/sctp.h>).
enum SCTPMessage {
  enum Arrival {
    /// Bytes of a message; the last ones of it are marked.
    case part(Int, SCTPLabel, isLast: Bool)
    /// A notification of the kernel about the association, which an earlier owner of the socket had asked for.
    case notification
    case ended
    case notNow
    case failed(Int32)
  }

  private static let endOfRecord = Int32(MSG_EOR)
  private static let notification = Int32(MSG_NOTIFICATION.rawValue)

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
  fileprivate static let unordered = UInt16(SCTP_UNORDERED.rawValue)

  /// From the control messages of a received message; stream 0 where the kernel tells nothing.
  init(_ message: UnsafeMutablePointer<msghdr>) {
    var next = clinux_cmsg_first(message)
    while let header = next {
      let isLabel =
        header.pointee.cmsg_level == SocketLevel.sctp
        && header.pointee.cmsg_type == Int32(SCTP_RCVINFO.rawValue)
      if isLabel, let data = UnsafeRawPointer(clinux_cmsg_data(header)) {
        let information = data.loadUnaligned(as: sctp_rcvinfo.self)
        stream = information.rcv_sid
        isUnordered = information.rcv_flags & Self.unordered != 0
        payloadProtocol = information.rcv_ppid
      }
      next = clinux_cmsg_next(message, header)
    }
  }
}

extension ControlWriter {
  /// Sends the message with a label.
  mutating func setLabel(_ label: SCTPLabel) {
    var information = sctp_sndinfo()
    information.snd_sid = label.stream
    information.snd_flags = label.isUnordered ? SCTPLabel.unordered : 0
    information.snd_ppid = label.payloadProtocol
    append(SocketLevel.sctp, Int32(SCTP_SNDINFO.rawValue), information)
  }
}
