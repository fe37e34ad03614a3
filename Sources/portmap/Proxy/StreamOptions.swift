import CLinux
import Glibc

extension Descriptor {
  /// Sets the options of a relayed stream. A listener hands them down to what it accepts.
  func setStreamOptions(_ transport: Transport) {
    // What was not delayed on the way in is not to be delayed on the way out.
    if transport == .sctp {
      setOption(SocketLevel.sctp, SCTP_NODELAY, 1)
      setOption(SocketLevel.sctp, SCTP_RECVRCVINFO, 1)
    } else {
      setOption(SocketLevel.tcp, TCP_NODELAY, 1)
      // Urgent bytes stay where they are in the stream: nobody here could tell whom they are urgent to.
      setOption(SocketLevel.socket, SO_OOBINLINE, 1)
    }
    // A peer that vanished without a word must not hold its descriptors for ever.
    setOption(SocketLevel.socket, SO_KEEPALIVE, 1)
  }
}
