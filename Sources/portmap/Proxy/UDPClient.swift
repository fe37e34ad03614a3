import Glibc

/// The identity of a udp client: the frontend that its datagrams come to, the address that they come from, and the
/// address that they are sent to, since answers must come from that.
struct UDPClientKey: Hashable {
  private let remote: UInt128
  private let local: UInt128
  private let frontend: UInt32
  private let scope: UInt32
  private let port: UInt16

  init(frontend: UInt32, address: SocketAddress, local: IPAddress?) {
    // A frontend has one family, so the numbers alone tell addresses apart.
    remote = address.ip.value
    port = address.port
    scope = address.scope
    self.local = local?.value ?? 0
    self.frontend = frontend
  }
}

/// A udp client: somebody who has sent datagrams, and the socket that is connected to the backend on the client's
/// behalf. What the backend sends there is an answer to the client.
final class UDPClient: EventHandler {
  let key: UDPClientKey
  let address: SocketAddress
  let frontend: UDPFrontend
  let socket: Descriptor
  /// What has gone through its group.
  let account: TrafficAccount
  /// Whether the last thing that was heard from the backend is that it cannot be reached.
  var isFailing = false
  /// The address that answers are sent from; nil lets the kernel choose.
  var source: IPAddress?
  /// The interface that answers must go out on, where the addresses alone do not say it (link-local ones).
  let interface: UInt32
  var registration: Registration?
  var standing = UDPStanding.unanswered

  /// Its place in the table, and its neighbours in its queue there in the order of last use; -1 is none.
  var slot: Int32 = -1
  var older: Int32 = -1
  var newer: Int32 = -1
  var lastUse: Int64 = 0

  /// Its first and last datagram in the batch that is being relayed; -1 is none.
  var firstPiece = -1
  var lastPiece = -1

  private var joinsToBackend = true
  private var joinsToClient = true
  private unowned let relay: UDPRelay

  init(
    key: UDPClientKey,
    address: SocketAddress,
    information: PacketInfo,
    frontend: UDPFrontend,
    socket: Descriptor,
    account: TrafficAccount,
    relay: UDPRelay
  ) {
    self.key = key
    self.address = address
    self.frontend = frontend
    self.socket = socket
    self.account = account
    self.relay = relay
    let local = information.local
    source = local.flatMap { $0.isMulticast || $0.isUnspecified ? nil : $0 }
    interface = local.map { $0.family == .v6 && $0.isLinkLocal } == true ? information.interface : 0
  }

  func handle(events: UInt32, tag: UInt32) {
    relay.receiveAnswers(for: self)
  }

  /// The backend cannot be reached. Told of each datagram, it counts once until the next answer.
  func fail(_ errno: Int32) {
    account.fail(errno, isNew: !isFailing)
    isFailing = true
  }

  /// Whether several of its datagrams may be sent as one message that the kernel cuts.
  func joins(_ direction: DatagramDirection) -> Bool {
    direction == .toBackend ? joinsToBackend : joinsToClient
  }

  func stopJoining(_ direction: DatagramDirection) {
    if direction == .toBackend { joinsToBackend = false } else { joinsToClient = false }
  }
}
