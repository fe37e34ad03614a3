// How operations lead connections as they connect: with the program of the host, on behalf of the state folder.

extension Workspace {
  /// On whose behalf entries are made here; nil on a kernel that does not tell network namespaces apart.
  private var connectOwner: ConnectOwner? { ConnectOwner(tag: state.tag ?? "") }

  /// Whether loopback connections can be led as they connect, which is asked where any of these could be; it is told
  /// why not.
  func leadsConnections(of mappings: [Mapping]) -> Bool {
    guard mappings.contains(where: \.mayBeConnected) else { return false }
    do {
      guard setting.connects else { throw ConnectError.leftOut }
      try connectHost().prepare()
      return true
    } catch {
      setting.explain(.notConnected(error))
      return false
    }
  }

  /// Leads connections on to backends; where that fails the proxy goes on to serve them.
  ///
  /// - Returns: Whether they are led.
  func lead(_ routes: [ConnectRoute]) -> Bool {
    guard !routes.isEmpty else { return true }
    do {
      try change(ConnectChange(making: routes, standing: state.connectRoutes))
      return true
    } catch {
      try? stopLeading(routes.map(\.ports))
      setting.explain(.notConnected(error))
      return false
    }
  }

  /// Lets the connections to some ports go where they want to again, but for those that a mapping of the state has.
  func stopLeading(_ ports: [ConnectPorts]) throws {
    guard !ports.isEmpty else { return }
    try change(ConnectChange(removing: ports, standing: state.connectRoutes))
  }

  /// What is different in the entries; nil where this process may not look.
  ///
  /// - Parameter lost: Routes of ports that somebody else has: these have no entries.
  func compareConnections(besides lost: [ConnectRoute] = []) -> ConnectComparison? {
    guard Capability.mayAdministerSystem, let connectOwner else { return nil }
    return try? connectHost().compare(routes(besides: lost), of: connectOwner)
  }

  /// Makes the entries agree with the state.
  func restoreConnections(_ comparison: ConnectComparison, besides lost: [ConnectRoute]) throws {
    let routes = routes(besides: lost)
    let making = comparison.isProgramLost ? routes : comparison.lost
    try change(ConnectChange(making: making, removing: comparison.stray, standing: routes))
  }

  private func routes(besides lost: [ConnectRoute]) -> [ConnectRoute] {
    state.connectRoutes.filter { !lost.contains($0) }
  }

  /// Removes what dead network namespaces have left. Where the state has entries of its own, changing those does it.
  func forgetDeadConnections() {
    guard setting.connects, Capability.mayAdministerSystem, state.connectRoutes.isEmpty, let connectOwner
    else {
      return
    }
    try? connectHost().forgetDead(besides: connectOwner)
  }

  private func change(_ change: ConnectChange) throws {
    guard let connectOwner else { throw ConnectError.oldKernel }
    try connectHost().carryOut(change, for: connectOwner)
  }

  private func connectHost() throws -> ConnectHost {
    if let connectHostInUse { return connectHostInUse }
    guard Capability.mayAdministerSystem else { throw ConnectError.notPermitted }
    guard connectOwner != nil else { throw ConnectError.oldKernel }
    let host = try ConnectHost()
    connectHostInUse = host
    return host
  }
}

extension State {
  /// Where loopback connections are led as they connect.
  var connectRoutes: [ConnectRoute] { mappings.compactMap(\.mapping.connectRoute) }

  /// The state of a host on which these are not led.
  func withoutConnecting(_ routes: [ConnectRoute]) -> State {
    let routes = Set(routes)
    var state = self
    for index in state.mappings.indices {
      guard let route = state.mappings[index].mapping.connectRoute, routes.contains(route) else { continue }
      state.mappings[index].mapping.delivery.connect = false
    }
    return state
  }

  /// How many connections were led by each mapping, by the mapping's id; nil where this process may not look.
  func connectCounts() -> [String: UInt64]? {
    guard Capability.mayAdministerSystem, let owner = ConnectOwner(tag: tag ?? ""),
      let counts = try? ConnectHost().counts(of: owner)
    else { return nil }
    let routes = mappings.compactMap { record in record.mapping.connectRoute.map { (record.id, $0) } }
    return Dictionary(
      routes.map { id, route in
        (id, owner.keys(of: [route.ports]).reduce(0) { $0 + (counts[$1] ?? 0) })
      },
      uniquingKeysWith: { $0 + $1 }
    )
  }
}
