import CLinux
import Glibc

/// The background process of one map or alloc call: it holds the call's sockets and serves the mappings among them.
///
/// Theory of operation. The command that starts it hands it sockets over a socket pair:
///
///     setting up  --enter-->  setting up     first of all, where it is said: the process goes into that namespace
///     setting up  --hold-->   setting up     the sockets of holdings come in, behind their drop filters
///     setting up  --begin-->  serving        the filters of what is proxied come off; the loop accepts and relays
///     setting up  --the command has gone-->  ends: nothing was promised to anybody yet
///     setting up  --something fails-->       ends, and says so instead of `done`
///     serving     --describe, locate, ask for entered, count--> serving
///     serving     --take-->   serving        copies of a holding's sockets go out; its own stay, and are served
///     serving     --release-> serving, or ends with the last holding
///
/// From `begin` on the control socket in the state folder is answered too, to root and to the user who made the call.
/// Everything privileged has happened before: the process gives up its user and its capabilities as soon as it knows
/// whether it has to enter a namespace, and before it answers `begin` whatever else serving does not need (Confinement).
/// It touches neither Foundation nor any file, so that a thousand of them cost little.
///
/// A process that has entered a namespace connects from there, and does everything else where it came from: the sockets
/// that it was handed, and the path of its control socket, stay what they were. Of the host it has these sockets and
/// nothing else.
final class Holder: EventHandler {
  private let loop: EventLoop
  private let proxy: ProxyServer
  private let control: Descriptor
  /// The users who may ask.
  private let callers: [uid_t]
  private let place: Place
  private let log: DebugLog
  private var held: [String: Held] = [:]
  /// How many holdings have come; their numbers are the proxy's names for them.
  private var count = 0

  /// Where the process came from, and went.
  private struct Place {
    /// The namespace in which it was started, and whose sockets it holds.
    var cookie = clinux_netns_cookie()
    var entered: GuestNamespace?
    /// Whether it is in another user namespace now.
    var isInOtherUserNamespace = false
  }

  private struct Held {
    let holding: Holding
    let number: Int
    /// One a port; those that the proxy serves are the proxy's alone.
    var sockets: [Descriptor]
  }

  /// None who asks may keep the proxy waiting for longer.
  private static let secondsForCaller = 1

  /// Runs to the end of the process: `portmap hold ID OWNER UID`, with the descriptors of HolderLauncher.
  static func run(_ arguments: [String]) -> Int32 {
    guard arguments.count == 3, let owner = UInt32(arguments[1]), let user = UInt32(arguments[2]) else {
      return 2
    }
    signal(SIGPIPE, SIG_IGN)
    // Started by way of /proc/self/exe, it would be called `exe`.
    _ = clinux_set_process_name("portmap")
    let log = DebugLog(of: "background process \(arguments[0])")
    let control = Descriptor(owning: HolderLauncher.controlDescriptor)
    do {
      func make(_ place: Place) throws -> Holder {
        try giveUpPrivileges(becoming: user, log)
        return try Holder(control: control, owner: owner, place, log)
      }
      // The command's end goes with it.
      guard let holder = try setUp(by: Descriptor(owning: HolderLauncher.setupDescriptor), log, make) else {
        log.say("the command has gone")
        return 0
      }
      try holder.loop.run()
      log.say("released everything")
      return 0
    } catch {
      log.say("ends: \(error)")
      return 1
    }
  }

  /// Becomes a user that has nothing, for good.
  ///
  /// In a user namespace there may be no such user (EINVAL), or nobody may change groups (EPERM), and the same holds for
  /// a root without capabilities: it then stays the one that it is, without any power.
  private static func giveUpPrivileges(becoming user: uid_t, _ log: DebugLog) throws(SystemError) {
    clinux_empty_bounding_set()
    if user != 0, clinux_become(user) != 0 {
      let error = SystemError(call: "setresuid", errno: errno, subject: "becoming user \(user)")
      guard error.errno == EINVAL || error.errno == EPERM else { throw error }
      log.say("\(error); user \(geteuid()), group \(getegid())")
    }
    try syscall("capset") { clinux_drop_capabilities() }
    try syscall("prctl") { clinux_set_no_new_privileges() }
  }

  private init(control: Descriptor, owner: uid_t, _ place: Place, _ log: DebugLog) throws(SystemError) {
    loop = try EventLoop()
    proxy = ProxyServer(loop: loop)
    self.control = control
    // In another user namespace the kernel tells the numbers of that one, in which 0 is the guest's root: there the owner
    // is who this process is.
    callers = place.isInOtherUserNamespace ? [geteuid()] : [0, owner]
    self.place = place
    self.log = log
    // Whoever connects learns by SO_PEERCRED who listened last: this process, no longer the command.
    try syscall("listen") { listen(control.raw, 16) }
  }

  /// Takes in sockets until the word to begin; nil when the command has gone without it. There is no deadline: the
  /// command may be stopped, and comes to an end itself.
  ///
  /// - Parameter make: Makes what holds them, once it is known where the process is.
  /// - Throws: What could not be done, after the command has been told.
  private static func setUp(
    by setup: Descriptor,
    _ log: DebugLog,
    _ make: (Place) throws -> Holder
  ) throws -> Holder? {
    var place = Place()
    var made: Holder?
    while true {
      do {
        let (bytes, descriptors) = try UnixSocket.receive(from: setup, by: .never)
        if bytes.isEmpty { return nil }
        let message = HolderMessage(bytes)
        switch message {
        case .enter(let guest)? where made == nil && descriptors.count == 1:
          place.isInOtherUserNamespace = try OpenedNamespace.enter(descriptors[0])
          place.entered = guest
          log.say("is in the network namespace \(guest.name)")
          made = try make(place)
        case .hold(let parts)? where parts.reduce(0, { $0 + Int($1.count) }) == descriptors.count:
          let holder = try made ?? make(place)
          made = holder
          holder.add(parts, descriptors)
        case .begin?:
          let holder = try made ?? make(place)
          made = holder
          try holder.begin()
        default:
          try UnixSocket.send(HolderMessage.refused(.notUnderstood).bytes, to: setup, by: .never)
          return nil
        }
        try UnixSocket.send(HolderMessage.done.bytes, to: setup, by: .never)
        if message == .begin { return made }
      } catch let error as SystemError {
        try? UnixSocket.send(HolderMessage.failed(error).bytes, to: setup, by: .after(seconds: 1))
        throw error
      }
    }
  }

  private func add(_ parts: [HolderMessage.Part], _ sockets: [Descriptor]) {
    var rest = sockets[...]
    for part in parts {
      if held[part.holding.id] == nil {
        held[part.holding.id] = Held(holding: part.holding, number: count, sockets: [])
        count += 1
        log.say("holds \(part.holding) (\(part.holding.id))")
      }
      held[part.holding.id]?.sockets += rest.prefix(Int(part.count))
      rest = rest.dropFirst(Int(part.count))
    }
  }

  /// Serves mappings and answers commands. Whatever can fail has been done when the command hears of it.
  private func begin() throws(SystemError) {
    var kinds: Set<SocketKind> = []
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
        kinds.insert(route.backendSocket)
      }
      held[id]?.sockets = []
    }
    try control.setNonBlocking()
    _ = try loop.add(control, events: Readiness.input, handler: self)
    log.say("serves \(proxy.socketCount) sockets, as process \(getpid()) and user \(geteuid())")
    try Confinement.enter(kinds, log)
  }

  /// A command connects: it is answered until it hangs up, one after the other.
  func handle(events: UInt32, tag: UInt32) {
    guard
      let raw = try? nonblocking(
        "accept",
        { clinux_accept4(control.raw, nil, nil, Int32(SOCK_CLOEXEC.rawValue)) }
      )
    else { return }
    let caller = Descriptor(owning: raw)
    var credentials = clinux_ucred()
    guard clinux_peer_credentials(raw, &credentials) == 0 else { return }
    do {
      guard callers.contains(credentials.uid) else {
        log.say("refuses user \(credentials.uid)")
        return try reply(.refused(.notAllowed), to: caller)
      }
      while true {
        let (bytes, _) = try UnixSocket.receive(from: caller, by: .after(seconds: Self.secondsForCaller))
        guard !bytes.isEmpty, try answer(HolderMessage(bytes), caller) else { return }
      }
    } catch {
      log.say("lets go of the caller, process \(credentials.pid): \(error)")
    }
  }

  private func reply(_ message: HolderMessage, _ sockets: [Descriptor] = [], to caller: Descriptor) throws {
    try UnixSocket.send(message.bytes, sockets, to: caller, by: .after(seconds: Self.secondsForCaller))
  }

  /// Answers one message; false when that was the end of it.
  private func answer(_ message: HolderMessage?, _ caller: Descriptor) throws -> Bool {
    switch message {
    case .take(let id)?:
      try sendSockets(of: id, to: caller)
    case .release(let ids)?:
      for id in ids {
        guard let entry = held.removeValue(forKey: id) else { continue }
        proxy.release(group: entry.number)
        log.say("released \(entry.holding) (\(id))")
      }
      try reply(.done, to: caller)
      if held.isEmpty {
        loop.stop()
        return false
      }
    case .describe?:
      let holdings = held.values.map(\.holding)
      for start in stride(from: 0, to: holdings.count, by: HolderMessage.holdingsPerMessage) {
        let part = holdings[start..<min(start + HolderMessage.holdingsPerMessage, holdings.count)]
        try reply(.described(Array(part)), to: caller)
      }
      try reply(.described([]), to: caller)
    case .locate?:
      try reply(.located(cookie: place.cookie), to: caller)
    case .askForEntered?:
      try reply(place.entered.map { .entered($0) } ?? .refused(.notHeld), to: caller)
    case .count?:
      try sendCounts(to: caller)
      // Nobody who asks this has more to ask, and the traffic does not wait for the caller to hang up.
      return false
    default:
      log.say("does not understand a message")
      try reply(.refused(.notUnderstood), to: caller)
    }
    return true
  }

  private func sendCounts(to caller: Descriptor) throws {
    let counts = held.compactMap { id, entry in
      proxy.count(ofGroup: entry.number).map { HoldingCount(id: id, count: $0) }
    }
    var rest = counts[...]
    repeat {
      let part = rest.prefix(HolderMessage.holdingsPerMessage)
      rest = rest.dropFirst(part.count)
      try reply(.counted(remaining: UInt32(rest.count), Array(part)), to: caller)
    } while !rest.isEmpty
  }

  private func sendSockets(of id: String, to caller: Descriptor) throws {
    guard let entry = held[id] else { return try reply(.refused(.notHeld), to: caller) }
    let sockets = entry.sockets.isEmpty ? proxy.sockets(ofGroup: entry.number) : entry.sockets
    for start in stride(from: 0, to: sockets.count, by: UnixSocket.descriptorsPerMessage) {
      let part = sockets[start..<min(start + UnixSocket.descriptorsPerMessage, sockets.count)]
      let remaining = UInt32(sockets.count - start - part.count)
      try reply(.sockets(remaining: remaining), Array(part), to: caller)
    }
    log.say("handed out \(entry.holding) (\(id))")
  }
}
