import CLinux

/// What a command changes in the entries of the program on connect(2).
struct ConnectChange {
  /// Routes that are made.
  var making: [ConnectRoute] = []
  /// Ports whose entries go, but for those that a standing route has.
  var removing: [ConnectPorts] = []
  /// The routes that the state has besides.
  var standing: [ConnectRoute] = []
}

/// The entries of a state folder, compared with the routes that the state has.
struct ConnectComparison: Equatable {
  /// Whether any of the program is missing, though there are routes.
  var isProgramLost = false
  /// The routes that lack entries, or have others.
  var lost: [ConnectRoute] = []
  /// Entries that no route has.
  var stray: [ConnectPorts] = []

  var isEmpty: Bool { self == ConnectComparison() }
}

extension ConnectHost {
  /// Makes and removes entries, and with them the program. Connections that removed entries have led end, and what dead
  /// network namespaces have left goes as well.
  func carryOut(_ change: ConnectChange, for owner: ConnectOwner) throws {
    try locked { isLocked in
      guard isLocked || change.making.isEmpty else { throw ConnectError.busy }
      guard let installed = try change.making.isEmpty ? find() : install() else { return }
      let present = try installed.map.entries()
      let routes = change.making + (installed.isNew ? change.standing : change.standing(in: change.removing))
      let wanted = owner.entries(of: routes)
      let removed = Set(owner.keys(of: change.removing))
      var gone = Self.dead(present, besides: owner)
      var agreeing: Set<ConnectKey> = []
      var replaced = 0
      var led: [clinux_led] = []
      for (key, value) in present where key.namespace == owner.namespace {
        if let new = wanted[key] {
          if new.agrees(with: value) { agreeing.insert(key) } else { replaced += 1 }
          if !new.leads(where: value), value.count > 0 { led.append(clinux_led(key, value)) }
        } else if removed.contains(key), owner.made(key, value) {
          gone.append(key)
          if value.count > 0 { led.append(clinux_led(key, value)) }
        }
      }
      try installed.map.delete(gone)
      let news = wanted.filter { !agreeing.contains($0.key) }
      try installed.map.set(news.map { ($0.key, $0.value) })
      if !led.isEmpty { try installed.sockets?.end(led) }
      if isLocked, present.count - gone.count + news.count - replaced == 0 { try detach(installed) }
    }
  }

  /// Removes what dead network namespaces have left, and the program where nothing has entries any more.
  func forgetDead(besides owner: ConnectOwner) throws {
    guard let installed = try find() else { return }
    let present = try installed.map.entries()
    guard present.isEmpty || !Self.dead(present, besides: owner).isEmpty else { return }
    try carryOut(ConnectChange(), for: owner)
  }

  /// The entries of network namespaces that are of no use to anybody.
  private static func dead(_ entries: [(key: ConnectKey, value: ConnectValue)], besides owner: ConnectOwner)
    -> [ConnectKey]
  {
    let others = entries.filter { $0.key.namespace != owner.namespace }
    guard !others.isEmpty else { return [] }
    // The number of a dead namespace can be this one's by now.
    let inodes = Set(others.map(\.value.inode))
    let living = LivingNamespaces.among(inodes.subtracting([owner.inode]))
    return others.filter { !living.contains($0.value.inode) }.map(\.key)
  }

  /// Compares the entries that an owner has with the routes that it should have.
  func compare(_ routes: [ConnectRoute], of owner: ConnectOwner) throws -> ConnectComparison {
    var comparison = ConnectComparison()
    guard let installed = try find() else {
      comparison.isProgramLost = !routes.isEmpty
      return comparison
    }
    comparison.isProgramLost = !routes.isEmpty && !installed.isWhole
    var wanted = owner.entries(of: routes)
    var stray: [ConnectKey] = []
    for (key, value) in try installed.map.entries() where owner.made(key, value) {
      guard let expected = wanted[key] else {
        stray.append(key)
        continue
      }
      if expected.agrees(with: value) { wanted[key] = nil }
    }
    comparison.lost = routes.filter { route in owner.keys(of: [route.ports]).contains { wanted[$0] != nil } }
    comparison.stray = stray.map(\.ports).sorted { $0.text < $1.text }
    return comparison
  }

  /// How many connections were led by each entry that an owner has, all read at once; empty without a program.
  func counts(of owner: ConnectOwner) throws -> [ConnectKey: UInt64] {
    var counts: [ConnectKey: UInt64] = [:]
    for (key, value) in try find()?.map.entries() ?? [] where owner.made(key, value) {
      counts[key] = value.count
    }
    return counts
  }
}

extension ConnectChange {
  /// The standing routes that have any of some ports.
  fileprivate func standing(in ports: [ConnectPorts]) -> [ConnectRoute] {
    var named: [IPAddress: [Bool]] = [:]
    for some in ports {
      for port in some.ports.ports {
        named[some.address, default: Array(repeating: false, count: 1 << 16)][Int(port)] = true
      }
    }
    return standing.filter { route in
      guard let named = named[route.ports.address] else { return false }
      return route.ports.ports.ports.contains { named[Int($0)] }
    }
  }
}

extension ConnectKey {
  /// The port that it is about, as a state has it.
  var ports: ConnectPorts {
    let ports = PortRange(first: portNumber, last: portNumber) ?? .unknown
    return ConnectPorts(address.address, ports)
  }
}

extension ConnectAddress {
  var address: IPAddress {
    let value = UInt128(UInt64(bigEndian: high)) << 64 | UInt128(UInt64(bigEndian: low))
    let address = IPAddress(v6: value)
    return address.isIPv4Mapped ? IPAddress(v4: UInt32(truncatingIfNeeded: value)) : address
  }
}

extension clinux_led {
  /// The connections that an entry has led.
  fileprivate init(_ key: ConnectKey, _ value: ConnectValue) {
    self.init()
    withUnsafeMutableBytes(of: &backend) { bytes in
      withUnsafeBytes(of: value.backend) { bytes.copyMemory(from: $0) }
    }
    backend_port = UInt16(truncatingIfNeeded: value.port)
    port = UInt16(truncatingIfNeeded: key.port)
  }
}
