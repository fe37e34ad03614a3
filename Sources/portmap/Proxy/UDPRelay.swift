import CLinux
import Glibc

// Datagrams of all udp frontends, both ways.
//
// To the backend: one recvmmsg at a frontend; each datagram's client is looked up (or made: a socket connected to
// the backend) and the batch goes out client by client, the order within each kept. From the backend: what the ready
// clients' sockets have is gathered until the turn ends or the batch is full, and goes out frontend by frontend,
// from the address that the client had written to. Sockets are level-triggered and read once a turn, so none can
// starve the others.
//
// The loop never rests to let a batch grow. Measured with 60 µs after every few datagrams: a client with 64 under way
// cost a fifth less processor time, but one with 8 or 16 got half as many answers.
//
// A client stays until no datagram has passed either way for its route's time, or until it makes room for another: a
// new source gets in at the expense of those that were never answered, then of those that were answered once, and only
// then of those that converse; among equals, of whoever has been silent the longest. Errors that ICMP reports (nobody
// listens yet) are dropped with their datagrams; the socket stays good for when somebody does.
//
// A new client's socket sends with one hop less than its first datagram had left, as a router would. So a datagram that
// mappings lead around in a circle, each hop of which is a new client, comes to its end.

/// The relay of all udp frontends.
final class UDPRelay {
  /// Large, as a burst must wait there for one turn of the loop. The kernel takes memory for what is queued only.
  private static let frontendBuffer: Int32 = 4 << 20
  private static let clientBuffer: Int32 = 1 << 20
  /// What the kernel gives datagrams by default (net.ipv4.ip_default_ttl).
  private static let usualHopLimit: Int32 = 64
  /// A client may stay this much longer than its time: no need to wake for each one apart.
  private static let expiryMilliseconds: Int64 = 250

  private struct Answer {
    let client: UDPClient
    let slot: Int
    let piece: DatagramPiece
  }

  unowned let loop: EventLoop
  private let accounts: TrafficAccounts
  /// How many clients there may be at once; the server adjusts it to what it serves.
  var limit = Int.max
  private var table = UDPClientTable()
  private var ports: UDPPorts?
  private var inbound: DatagramBatch?
  private var outbound: DatagramBatch?
  private var sender: DatagramSender?
  private var answers: [Answer] = []
  private var expiryIsSet = false
  private var frontendCount: UInt32 = 0

  init(loop: EventLoop, accounts: TrafficAccounts) {
    self.loop = loop
    self.accounts = accounts
  }

  func serve(_ socket: Descriptor, route: ProxyRoute, group: Int) throws(SystemError) -> UDPFrontend {
    // Now, as files may be out of reach once traffic comes.
    if ports == nil { ports = UDPPorts() }
    frontendCount &+= 1
    let frontend = UDPFrontend(
      socket,
      route: route,
      group: group,
      number: frontendCount,
      firstQueue: table.queue(timeout: Int64(route.udpTimeout) * 1000),
      relay: self
    )
    try socket.setNonBlocking()
    socket.setOption(SocketLevel.ipv6, IPV6_RECVPKTINFO, 1)
    // On a dual-stack socket too: only this one tells which address a broadcast is to be answered from.
    socket.setOption(SocketLevel.ip, IP_PKTINFO, 1)
    socket.setOption(SocketLevel.ipv6, IPV6_RECVHOPLIMIT, 1)
    socket.setOption(SocketLevel.ip, IP_RECVTTL, 1)
    socket.setOption(SocketLevel.udp, UDP_GRO, 1)
    socket.setBufferSizes(receive: Self.frontendBuffer, send: Self.frontendBuffer)
    try frontend.start()
    return frontend
  }

  /// Forgets the clients of the groups that `matches` picks.
  func close(where matches: (Int) -> Bool) {
    // Other groups' answers are among those that wait for the turn's end.
    sendAnswers()
    for client in table.clients(where: { matches($0.frontend.group) }) { forget(client) }
    releaseIfIdle()
  }

  /// Relays one batch of what has come in at a frontend.
  func receive(from frontend: UDPFrontend) {
    guard let batch = inbound ?? DatagramBatch() else { return }
    inbound = batch
    let sender = self.sender ?? DatagramSender()
    self.sender = sender
    guard case .done(let count) = batch.receive(from: frontend.socket.raw) else { return }
    var pieces: [(piece: DatagramPiece, next: Int)] = []
    pieces.reserveCapacity(count)
    var clients: [UDPClient] = []
    for slot in 0..<count {
      let information = batch.information(slot)
      let piece = DatagramPiece(length: batch.length(slot), segment: information.segment)
      pieces.append((piece, -1))
      guard let address = batch.source(slot), let client = client(of: address, information, frontend)
      else { continue }
      if client.firstPiece < 0 {
        client.firstPiece = slot
        clients.append(client)
      } else {
        pieces[client.lastPiece].next = slot
      }
      client.lastPiece = slot
    }
    for client in clients {
      var slot = client.firstPiece
      while slot >= 0 {
        client.account.carriedIn(UInt64(pieces[slot].piece.length))
        sender.add(batch.payload(slot), pieces[slot].piece, of: client, .toBackend)
        slot = pieces[slot].next
      }
      sender.flush()
      client.firstPiece = -1
    }
    batch.clear()
  }

  /// Gathers what the backend has sent to a client, for the end of the turn.
  func receiveAnswers(for client: UDPClient) {
    guard let batch = outbound ?? DatagramBatch() else { return }
    outbound = batch
    if batch.isFull { sendAnswers() }
    let first = batch.used
    let count: Int
    switch batch.receive(from: client.socket.raw) {
    case .done(let received): count = received
    // It is ICMP's, and gone by being told.
    case .failed(let code): return client.fail(code)
    case .notNow: return
    }
    client.isFailing = false
    table.touch(client, as: client.standing == .unanswered ? .answered : client.standing, now: loop.now)
    for slot in first..<first + count {
      let piece = DatagramPiece(length: batch.length(slot), segment: batch.information(slot).segment)
      client.account.carriedOut(UInt64(piece.length))
      answers.append(Answer(client: client, slot: slot, piece: piece))
    }
  }

  /// Sends what has been gathered.
  func sendAnswers() {
    guard !answers.isEmpty, let batch = outbound, let sender else { return }
    var frontend: UDPFrontend?
    for answer in answers {
      if let frontend, frontend !== answer.client.frontend { sender.flush() }
      frontend = answer.client.frontend
      sender.add(batch.payload(answer.slot), answer.piece, of: answer.client, .toClient)
    }
    sender.flush()
    answers.removeAll(keepingCapacity: true)
    batch.clear()
  }

  private func client(
    of address: SocketAddress,
    _ information: PacketInfo,
    _ frontend: UDPFrontend
  ) -> UDPClient? {
    let key = UDPClientKey(frontend: frontend.number, address: address, local: information.local)
    if let known = table[key] {
      table.touch(known, as: known.standing == .answered ? .conversing : known.standing, now: loop.now)
      return known
    }
    let hopLimit = information.hopLimit.map { $0 - 1 }
    guard hopLimit != 0 else { return nil }
    while table.count >= limit, let client = table.firstToGo { forget(client) }
    let account = accounts[frontend.group]
    guard let socket = backendSocket(for: frontend.route.backend, account) else { return nil }
    if let hopLimit, hopLimit < Self.usualHopLimit {
      socket.setHopLimit(hopLimit, frontend.route.backend.ip.family)
    }
    let client = UDPClient(
      key: key,
      address: address,
      information: information,
      frontend: frontend,
      socket: socket,
      account: account,
      relay: self
    )
    guard let registration = try? loop.add(socket, events: Readiness.input, handler: client) else {
      return nil
    }
    client.registration = registration
    account.begin()
    table.insert(client, now: loop.now)
    setExpiry()
    return client
  }

  /// Opens a socket that is connected to the backend, at the expense of other clients if need be.
  private func backendSocket(for backend: SocketAddress, _ account: TrafficAccount) -> Descriptor? {
    guard let ports, let socket = openSocket(backend.ip.family),
      ports.bind(socket, towards: backend, makeRoom: makeRoom)
    else {
      account.fail(EADDRNOTAVAIL)
      return nil
    }
    guard backend.withSockaddr({ connect(socket.raw, $0, $1) }) == 0 else {
      account.fail(errno)
      return nil
    }
    socket.setOption(SocketLevel.udp, UDP_GRO, 1)
    socket.setBufferSizes(receive: Self.clientBuffer, send: Self.clientBuffer)
    return socket
  }

  private func openSocket(_ family: IPAddress.Family) -> Descriptor? {
    while true {
      do throws(SystemError) {
        return try Descriptor.socket(.udp, family)
      } catch {
        guard Outcome.isExhaustion(error.errno), let client = table.firstToGo else { return nil }
        forget(client)
      }
    }
  }

  /// Gives up the client that goes first if so many ports in a row are taken.
  private func makeRoom(taken: Int, of ports: Int) {
    guard let client = table.firstToGo else { return }
    let patience = UDPPorts.patience(with: client.standing, clients: table.count, ports: ports)
    if taken.isMultiple(of: patience) { forget(client) }
  }

  private func forget(_ client: UDPClient) {
    table.remove(client)
    client.account.end()
    if let registration = client.registration { loop.remove(registration, closing: true) }
  }

  private func setExpiry() {
    guard !expiryIsSet, let next = table.nextExpiry else { return }
    expiryIsSet = true
    loop.after(milliseconds: Int(max(next - loop.now, 0) + Self.expiryMilliseconds)) { [weak self] in
      guard let self else { return }
      expiryIsSet = false
      while let client = table.expired(now: loop.now) { forget(client) }
      releaseIfIdle()
      setExpiry()
    }
  }

  private func releaseIfIdle() {
    guard table.isEmpty, inbound != nil else { return }
    inbound = nil
    outbound = nil
    sender = nil
    answers = []
    malloc_trim(0)
  }
}
