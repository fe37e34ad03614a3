import CLinux
import Glibc

/// The numbers of streams that an association has, seen from one end.
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
  /// From what the kernel tells about an association.
  init(_ status: sctp_status) {
    self.init(incoming: status.sstat_instrms, outgoing: status.sstat_outstrms)
  }

  /// What an association is to begin with; for attempts and time, 0 leaves what is usual.
  var request: sctp_initmsg {
    sctp_initmsg(
      sinit_num_ostreams: outgoing,
      sinit_max_instreams: incoming,
      sinit_max_attempts: 0,
      sinit_max_init_timeo: 0
    )
  }
}

extension Descriptor {
  /// The streams of the socket's association; nil when there is none, not yet or not any more.
  func sctpStreams() -> SCTPStreams? {
    (try? option(SocketLevel.sctp, SCTP_STATUS, into: sctp_status())).map(SCTPStreams.init(_:))
  }

  /// Asks for streams in the associations that begin from now on. The two ends agree on the smaller numbers.
  func askForStreams(_ streams: SCTPStreams) {
    setOption(SocketLevel.sctp, SCTP_INITMSG, structure: streams.request)
  }
}
