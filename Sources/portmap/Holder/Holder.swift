import CLinux
import Glibc

/// The background process of one map or alloc call: it holds the call's sockets and serves the mappings among them.
///
/// Theory of operation. The command that starts it hands it sockets over a socket pair:
///
///     setting up  --hold-->   setting up     the sockets of holdings come in, behind their drop filters
///     setting up  --begin-->  serving        the filters of what is proxied come off; the loop accepts and relays
///     setting up  --the command has gone-->  ends: nothing was promised to anybody yet
///     serving     --take-->   serving        copies of a reservation's sockets go out; its own stay
///     serving     --release-> serving, or ends with the last holding
///
/// From `begin` on the control socket in the state folder is answered too, to root and to the user who made the call.
/// Everything privileged has happened before: the process gives up its user and its capabilities first of all. It
/// touches neither Foundation nor any file, so that a thousand of them cost little.
final class Holder: EventHandler {
  private let loop: EventLoop
  private let proxy: ProxyServer
  private let control: Descriptor
  private let owner: uid_t
  private var held: [String: Held] = [:]
  /// Leases in the order in which they came, which is the proxy's name for them.
  private var count = 0

  private struct Held {
    let holding: Holding
    let number: Int
    /// One a port; those that the proxy serves are the proxy's alone.
    var sockets: [Descriptor]
  }

  /// Runs to the end of the process: `portmap hold ID OWNER UID`, with the descriptors of HolderLauncher.
  static func run(_ arguments: [String]) -> Int32 {
    guard arguments.count == 3, let owner = UInt32(arguments[1]), let user = UInt32(arguments[2]) else {
      return 2
    }
    signal(SIGPIPE, SIG_IGN)
    // Started by way of /proc/self/exe, it would be called `exe`.
    _ = clinux_set_process_name("portmap")
    // In a user namespace there may be no such user; it then stays the one that it is, without any power.
    if user != 0, clinux_become(user) != 0, errno != EINVAL { return 1 }
    guard clinux_drop_capabilities() == 0, clinux_set_no_new_privileges() == 0 else { return 1 }
    let setup = Descriptor(owning: HolderLauncher.setupDescriptor)
    let control = Descriptor(owning: HolderLauncher.controlDescriptor)
    do {
      let holder = try Holder(control: control, owner: owner)
      guard try holder.setUp(by: setup) else { return 0 }
      try holder.loop.run()
      return 0
    } catch {
      return 1
    }
  }

  private init(control: Descriptor, owner: uid_t) throws(SystemError) {
    loop = try EventLoop()
    proxy = ProxyServer(loop: loop)
    self.control = control
    self.owner = owner
    // Whoever connects learns by SO_PEERCRED who listened last: this process, no longer the command.
    try syscall("listen") { listen(control.raw, 16) }
  }

  /// Takes in sockets until the word to begin; false when the command has gone without it.
  private func setUp(by setup: Descriptor) throws(SystemError) -> Bool {
    while true {
      let (bytes, sockets) = try UnixSocket.receive(from: setup)
      switch HolderMessage(bytes) {
      case .hold(let parts)? where parts.reduce(0, { $0 + Int($1.count) }) == sockets.count:
        add(parts, sockets)
        try UnixSocket.send(HolderMessage.done.bytes, to: setup)
      case .begin?:
        try begin()
        try UnixSocket.send(HolderMessage.done.bytes, to: setup)
        return true
      default:
        return false
      }
    }
  }

  private func add(_ parts: [HolderMessage.Part], _ sockets: [Descriptor]) {
    var rest = sockets[...]
    for part in parts {
      if held[part.holding.id] == nil {
        held[part.holding.id] = Held(holding: part.holding, number: count, sockets: [])
        count += 1
      }
      held[part.holding.id]?.sockets += rest.prefix(Int(part.count))
      rest = rest.dropFirst(Int(part.count))
    }
  }

  /// Serves mappings and answers commands. Whatever can fail has been done when the command hears of it.
  private func begin() throws(SystemError) {
    for (id, entry) in held {
      guard case .mapping(let mapping) = entry.holding, mapping.delivery.proxy else { continue }
      for (socket, port) in zip(entry.sockets, mapping.backendPorts.ports) {
        let route = ProxyRoute(
          transport: mapping.transport,
          backend: SocketAddress(mapping.backendIP, port: port),
          proxyProtocol: mapping.delivery.proxyProtocol
        )
        try DropFilter.detach(from: socket)
        try proxy.serve(socket, route: route, group: entry.number)
      }
      held[id]?.sockets = []
    }
    try control.setNonBlocking()
    _ = try loop.add(control, events: Readiness.input, handler: self)
  }

  /// A command connects: it is answered until it hangs up, one after the other. None may keep the proxy waiting for
  /// long, hence the time limit.
  func handle(events: UInt32, tag: UInt32) {
    guard
      let raw = try? nonblocking(
        "accept",
        { clinux_accept4(control.raw, nil, nil, Int32(SOCK_CLOEXEC.rawValue)) }
      )
    else { return }
    let caller = Descriptor(owning: raw)
    var credentials = clinux_ucred()
    guard clinux_peer_credentials(raw, &credentials) == 0, credentials.uid == 0 || credentials.uid == owner
    else { return }
    try? UnixSocket.limit(caller, seconds: 1)
    while let (bytes, _) = try? UnixSocket.receive(from: caller), !bytes.isEmpty {
      do {
        guard try answer(HolderMessage(bytes), caller) else { return }
      } catch {
        return
      }
    }
  }

  /// Answers one message; false when that was the end of it.
  private func answer(_ message: HolderMessage?, _ caller: Descriptor) throws(SystemError) -> Bool {
    switch message {
    case .take(let id)?:
      try sendSockets(of: id, to: caller)
    case .release(let ids)?:
      for id in ids {
        guard let entry = held.removeValue(forKey: id) else { continue }
        proxy.release(group: entry.number)
      }
      try UnixSocket.send(HolderMessage.done.bytes, to: caller)
      if held.isEmpty {
        loop.stop()
        return false
      }
    case .describe?:
      let holdings = held.values.map(\.holding)
      for start in stride(from: 0, to: holdings.count, by: HolderMessage.holdingsPerMessage) {
        let part = holdings[start..<min(start + HolderMessage.holdingsPerMessage, holdings.count)]
        try UnixSocket.send(HolderMessage.described(Array(part)).bytes, to: caller)
      }
      try UnixSocket.send(HolderMessage.described([]).bytes, to: caller)
    default:
      try UnixSocket.send(HolderMessage.refused.bytes, to: caller)
    }
    return true
  }

  private func sendSockets(of id: String, to caller: Descriptor) throws(SystemError) {
    guard let sockets = held[id]?.sockets, !sockets.isEmpty else {
      return try UnixSocket.send(HolderMessage.refused.bytes, to: caller)
    }
    for start in stride(from: 0, to: sockets.count, by: UnixSocket.descriptorsPerMessage) {
      let part = sockets[start..<min(start + UnixSocket.descriptorsPerMessage, sockets.count)]
      let remaining = UInt32(sockets.count - start - part.count)
      try UnixSocket.send(HolderMessage.sockets(remaining: remaining).bytes, Array(part), to: caller)
    }
  }
}
