import Glibc

/// How many streams an association has, seen from one end.
struct SCTPStreams: Equatable {
  /// Those that messages may come on.
  let incoming: UInt16
  /// Those that messages may be sent on.
  let outgoing: UInt16

  /// What a frontend asks for, before anything is known about the backend. Each outgoing one costs the kernel some 24
  /// bytes an association, whoever the client is, so not 65535; FreeBSD has no more than these either.
  static let ofFrontend = SCTPStreams(incoming: .max, outgoing: 2048)

  init(incoming: UInt16, outgoing: UInt16) {
    self.incoming = incoming
    self.outgoing = outgoing
  }
}

extension SCTPStreams {
  /// The size of struct sctp_status (<linux/sctp.h>): the kernel takes no less.
  static let statusSize = 176

  /// Reads a struct sctp_status.
  init(status: UnsafeRawBufferPointer) {
    self.init(
      incoming: status.loadUnaligned(fromByteOffset: 16, as: UInt16.self),
      outgoing: status.loadUnaligned(fromByteOffset: 18, as: UInt16.self)
    )
  }

  /// A struct sctp_initmsg: outgoing, incoming, and for attempts and time what is usual.
  var request: [UInt16] { [outgoing, incoming, 0, 0] }
}

extension Descriptor {
  /// The streams of the socket's association; nil when there is none, not yet or not any more.
  func sctpStreams() -> SCTPStreams? {
    withUnsafeTemporaryAllocation(byteCount: SCTPStreams.statusSize, alignment: 8) { status in
      status.initializeMemory(as: UInt8.self, repeating: 0)
      var length = socklen_t(status.count)
      guard
        getsockopt(raw, SocketConstant.solSCTP, SocketConstant.sctpStatus, status.baseAddress, &length) == 0
      else { return nil }
      return SCTPStreams(status: UnsafeRawBufferPointer(status))
    }
  }

  /// Asks for streams in the associations that begin from now on. The two ends agree on the smaller numbers.
  func askForStreams(_ streams: SCTPStreams) {
    let request = streams.request
    let length = socklen_t(request.count * MemoryLayout<UInt16>.size)
    _ = setsockopt(raw, SocketConstant.solSCTP, SocketConstant.sctpInitMessage, request, length)
  }
}
