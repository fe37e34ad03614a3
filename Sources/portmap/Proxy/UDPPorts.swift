import Glibc

// The ports of udp clients.
//
// Each client has a socket and with it a port of its own, by which the backend tells it from others. All programs of a
// network namespace draw such ports from one range (net.ipv4.ip_local_port_range), and once that is used up none of
// them can so much as look up a name. Made-up sources cost their sender nothing, and there may be any number of
// processes like this one, which do not know of each other: no number that each kept to would be a limit for all.
//
// So a port is drawn at random, and how often one turns out to be taken tells how full the range is, whoever has filled
// it. Each time as many in a row are taken as `patience` says, a client is given up. A flood grows until each client
// that it adds costs one: until the share s of the range that is taken has s^patience = 1/2. There it stays, however
// many processes are flooded:
//
//   clients that the backend never answers    half of the range
//   with one answer each                      92 %
//   with a talk in both directions            96 %
//
// A process that has few clients is more patient with its unanswered ones. Where others are flooded, its own come and
// go as before, and it does not run out of those that go first: clients that have had answers stay. With more than 32
// flooded processes none has many, and the unanswered take up to 84 %.

struct UDPPorts {
  /// How many are drawn for one client at most. So many in a row are taken only where strangers have nearly all.
  private static let draws = 32

  private let range: EphemeralPorts?

  /// Reads which ports there are, in the network namespace of this process. Where an administrator changes the range
  /// later, clients go on taking ports of the old one: none that other programs would get is missed.
  init() {
    range = LocalPorts.ephemeral()
  }

  /// Gives a socket one of them. False where none could be had.
  ///
  /// - Parameter makeRoom: Called with a number of ports that were found taken in a row and the size of the range.
  func bind(_ socket: Descriptor, towards backend: SocketAddress, makeRoom: (Int, Int) -> Void) -> Bool {
    guard let range else { return false }
    let every: IPAddress = backend.ip.family == .v4 ? .anyV4 : .anyV6
    for taken in 1...Self.draws {
      guard let port = range.random() else { return false }
      // On the backend's own port, a backend of this host that does not run would be replaced by an echo.
      let isBound = port != backend.port && Self.isBound(socket, to: SocketAddress(every, port: port))
      if isBound { return true }
      makeRoom(taken, range.count)
    }
    return false
  }

  private static func isBound(_ socket: Descriptor, to address: SocketAddress) -> Bool {
    address.withSockaddr { Glibc.bind(socket.raw, $0, $1) } == 0
  }

  /// How many ports in a row are to be found taken before a client is given up.
  ///
  /// - Parameters:
  ///   - standing: How far the talk of that client has come.
  ///   - clients: How many clients the process has.
  ///   - ports: How many ports there are in all.
  static func patience(with standing: UDPStanding, clients: Int, ports: Int) -> Int {
    switch standing {
    case .unanswered: clients > ports / 32 ? 1 : 4
    case .answered: 8
    case .conversing: 16
    }
  }
}
