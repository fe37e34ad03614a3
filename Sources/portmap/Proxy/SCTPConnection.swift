import CLinux
import Glibc

// An association of SCTP with a client and the one with the backend on its behalf. Each direction is an `SCTPFlow`.
//
// SCTP has no half-close: who has received a shutdown can send no more, and what comes for it is of no use. So when
// one side has ended and its last message is passed on, the other is shut down (the kernel first sends what waits
// there), and what that side still has to say is read and dropped until its association is over. To close it before
// that would, with anything unread, be an abort, and lose what is in flight.

final class SCTPConnection: StreamConnection {
  private var up = SCTPFlow()
  private var down = SCTPFlow()

  /// Asks the backend for what the client's association has, so that both have the same streams and are told so. A
  /// client that has gone already may have left messages on any stream.
  override func prepare(_ route: ProxyRoute) -> Bool {
    let streams = client.sctpStreams() ?? SCTPStreams(incoming: .max, outgoing: .max)
    backend.askForStreams(SCTPStreams(incoming: streams.outgoing, outgoing: streams.incoming))
    return true
  }

  override func note(_ events: UInt32, of side: UInt32) -> Bool {
    if side == Side.client {
      Self.note(events, incoming: &up, outgoing: &down)
    } else {
      Self.note(events, incoming: &down, outgoing: &up)
    }
    // A side that has ended has nothing left to break.
    return events & Readiness.error != 0 && !(side == Side.client ? up : down).hasEnded
  }

  private static func note(_ events: UInt32, incoming: inout SCTPFlow, outgoing: inout SCTPFlow) {
    let ending = Readiness.hangup | Readiness.error
    if events & (Readiness.input | Readiness.peerEnded | ending) != 0 { incoming.readable = true }
    if events & (Readiness.output | ending) != 0 { outgoing.writable = true }
  }

  override func move() {
    let upward = up.pump(from: client, to: backend, relay.buffers)
    let downward = down.pump(from: backend, to: client, relay.buffers)
    tally()
    if upward == .failed || downward == .failed { return fail(down.readError ?? up.writeError ?? 0) }
    if up.hasEnded && down.hasEnded { return finish() }
    if upward == .ended {
      shutdown(backend.raw, Int32(SHUT_WR))
      down.drop(relay.buffers)
    }
    if downward == .ended {
      shutdown(client.raw, Int32(SHUT_WR))
      up.drop(relay.buffers)
    }
    if upward == .more || downward == .more || upward == .ended || downward == .ended { moveAgain() }
  }

  override func moveTheRest() {
    while up.pump(from: client, to: backend, relay.buffers) == .more {}
    while down.pump(from: backend, to: client, relay.buffers) == .more {}
    tally()
  }

  private func tally() {
    account.carriedIn(up.takeCount())
    account.carriedOut(down.takeCount())
  }

  override func discard() {
    up.discard(relay.buffers)
    down.discard(relay.buffers)
  }
}
