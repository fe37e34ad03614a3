import Glibc

/// Gives out addresses of bridge networks.
struct BridgeNetwork {
  private let workspace: Workspace
  private let state: State

  /// - Parameter state: What is given out already, by earlier lines of the same call too.
  init(_ workspace: Workspace, _ state: State) {
    self.workspace = workspace
    self.state = state
  }

  /// Adds the next address of a bridge network to what is wanted, and the bridge where it is portmap's and missing.
  ///
  /// - Parameters:
  ///   - name: The bridge; portmap's own where nil.
  ///   - subnet: The network of a bridge that is yet to be made.
  func allocate(bridge name: String?, subnet: Subnet?, in wanted: inout Wanted) throws -> AllocatedAddress {
    let network = try workspace.network()
    let name = try name ?? defaultName(network)
    let bridge = try self.bridge(name, subnet, network, &wanted)
    var taken = Set(state.addresses.filter { $0.bridge == bridge.name }.map(\.ip))
    taken.formUnion(state.mappings.map(\.backendIP))
    if !bridge.isOwn { taken.formUnion(try network.neighbours(of: bridge.name)) }
    guard let (address, next) = bridge.allocating(besides: taken) else {
      throw OperationError.noFreeAddress(bridge: bridge.name, bridge.subnet)
    }
    wanted.bridges = [next]
    wanted.needsForwarding = true
    return AllocatedAddress(ip: address, bridge: bridge.name)
  }

  /// Plugs a network namespace into the bridge of an address that is wanted.
  ///
  /// - Parameter link: The name of the host's end.
  func plug(
    _ namespace: String,
    into address: inout AllocatedAddress,
    by link: String,
    in wanted: inout Wanted
  ) throws {
    try check(namespace)
    guard let bridge = wanted.bridges.first else { throw NetworkError.noSuchBridge(address.bridge) }
    let (change, hasRoute) = try GuestPlug(workspace).change(
      plugging: namespace,
      address.ip,
      into: bridge,
      by: link
    )
    if hasRoute { workspace.notify(.defaultRouteKept(namespace: namespace)) }
    address.name = namespace
    address.link = link
    wanted.links.append(change)
  }

  private func check(_ namespace: String) throws {
    var theirs = stat()
    var own = stat()
    guard stat("/run/netns/\(namespace)", &theirs) == 0 else { throw NetworkError.noSuchNamespace(namespace) }
    if stat("/proc/self/ns/net", &own) == 0, (own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino) {
      throw NetworkError.ownNamespace(namespace)
    }
  }

  /// portmap0, unless it belongs to another state folder: then portmap1, and so on.
  private func defaultName(_ network: IPRoute) throws -> String {
    for number in 0..<100 {
      let name = "portmap\(number)"
      if state.bridge(name)?.isOwn == true { return name }
      guard let alias = try network.link(name)?.ifalias.flatMap({ LinkAlias($0) }),
        alias.owner != workspace.alias().owner
      else { return name }
    }
    return BridgePlan.defaultName
  }

  /// The bridge that is meant, as it is now.
  private func bridge(_ name: String, _ subnet: Subnet?, _ network: IPRoute, _ wanted: inout Wanted) throws
    -> BridgeRecord
  {
    let known = state.bridge(name)
    if let known, known.isOwn {
      try check(known, subnet)
      // It was deleted behind portmap's back; its rules are recorded.
      // One that is new to the state is about to be made by an earlier line.
      let isRecorded = workspace.state.bridge(name) != nil
      if isRecorded, try network.link(name) == nil { wanted.links.append(newLink(known)) }
      return known
    }
    guard let link = try network.link(name) else {
      guard BridgePlan.isDefault(name) else { throw NetworkError.noSuchBridge(name) }
      let record = BridgeRecord(name: name, subnet: try newSubnet(subnet, network), isOwn: true)
      wanted.links.append(newLink(record))
      return record
    }
    guard link.isBridge else { throw NetworkError.notABridge(name) }
    guard let first = link.subnets.first else { throw NetworkError.bridgeWithoutIPv4(name) }
    if link.subnets.count > 1 { workspace.notify(.severalAddresses(bridge: name, counted: first)) }
    let record =
      known.flatMap { $0.subnet == first ? $0 : nil } ?? BridgeRecord(name: name, subnet: first, isOwn: false)
    try check(record, subnet)
    return record
  }

  private func check(_ bridge: BridgeRecord, _ wanted: Subnet?) throws {
    guard let wanted, wanted.networkDescription != bridge.subnet.networkDescription else { return }
    throw OperationError.otherSubnet(bridge: bridge.name, has: bridge.subnet, wanted: wanted)
  }

  private func newLink(_ bridge: BridgeRecord) -> LinkChange {
    .addBridge(bridge.name, bridge.subnet, alias: workspace.alias())
  }

  /// The network of a new bridge: the one that is wanted, unless an interface has it, or the first that no route
  /// overlaps.
  private func newSubnet(_ wanted: Subnet?, _ network: IPRoute) throws -> Subnet {
    let routes = try network.routes()
    guard let wanted else {
      guard let subnet = BridgePlan.choose(routes: routes) else { throw NetworkError.noFreeNetwork }
      return subnet
    }
    let interfaces = try Interfaces.current().entries.map(\.subnet)
    if let taken = interfaces.first(where: wanted.covers) {
      throw NetworkError.subnetTaken(wanted, by: taken)
    }
    if let route = routes.first(where: { $0.overlaps(wanted) }) {
      workspace.notify(.withinRoute(wanted, route: route))
    }
    return wanted.withGateway
  }
}

extension BridgeRecord {
  /// The next address that is free, and the record once it is given out; nil when all are taken.
  fileprivate func allocating(besides taken: Set<IPAddress>) -> (IPAddress, BridgeRecord)? {
    let pool = AddressPool(subnet: subnet, taken: taken, cursor: cursor, freed: freed)
    guard let address = pool.next() else { return nil }
    var next = self
    next.freed.removeAll { $0 == address }
    if next.cursor.map({ $0 < address }) ?? true { next.cursor = address }
    return (address, next)
  }
}
