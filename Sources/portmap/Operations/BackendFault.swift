/// A reason why a backend does not answer, or does not answer everybody.
struct BackendFault: Equatable, Sendable {
  enum Reason: Equatable, Sendable {
    /// The kernel has no route, or one that refuses.
    case noRoute(networks: [Subnet])
    /// The neighbour does not answer: nobody has the address.
    case noNeighbour(link: String)
    /// The route leads through another interface than that of the address's network.
    case otherLink(String, owner: String)
    /// Nothing listens on the port. The others, where something listens on those.
    case refused(listening: [UInt16])
    /// The port is open in there, but only for the guest's own loopback.
    case listensOnLoopback(IPAddress)
    /// Something listens, and yet the connection is refused.
    case refusedByFirewall
    /// A router or a firewall says that there is no way.
    case rejected
    /// Nothing comes back from a neighbour that is there.
    case silent
    /// Nothing comes back from beyond a router; the host's own networks do not contain the address.
    case silentBehind(gateway: IPAddress, link: String)
    /// What comes back is dropped, because it comes by another way than it went.
    case dropsReversePath([String])
    /// It answers this host's address next door and no other: replies to clients of other networks get lost.
    case noWayBack(Certainty)
    /// The interface lets nothing through.
    case forwardingOff(link: String)
    /// Its own network's clients are not masqueraded: they get its replies directly, and do not know them.
    case neighboursAnsweredDirectly(Subnet)
    /// It could not be asked.
    case notAsked(errno: Int32)
    /// The network namespace could not be entered.
    case namespaceClosed(NamespaceError)
    /// Of a long range only some ports were asked.
    case sampled(asked: Int)
  }

  /// How sure it is that a guest has no route back.
  enum Certainty: Equatable, Sendable { case noRoute, otherRoute, unknown }

  let address: IPAddress
  /// Those that it is about; nil where it is about all that is sent there.
  let ports: PortRange?
  let transport: Transport
  let reason: Reason
  /// The network namespace from inside of which it was asked; nil for portmap's own.
  var into: NamespaceName?
  /// Whether it may be as somebody wants it: clients of other networks may not be meant to come this way.
  var isNote = false

  /// Whether it only concerns clients from outside, the backend's own network, or everybody.
  var concerns: Set<Viewpoint> {
    switch reason {
    case .noWayBack, .forwardingOff: [.outside]
    case .neighboursAnsweredDirectly: [.guest]
    case .sampled: []
    default: Set(Viewpoint.allCases)
    }
  }
}

/// Where a client of a mapped port is.
enum Viewpoint: CaseIterable, Sendable { case outside, here, guest }
