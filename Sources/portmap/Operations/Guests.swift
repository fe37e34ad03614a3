import Glibc

/// Bridge networks and the addresses on them.
struct Guests {
  let workspace: Workspace
  let draft: Draft

  /// Gives out the next address of a bridge network, and makes the bridge where it is portmap's and not there yet.
  func lease(bridge name: String?, subnet: Subnet?) throws -> AllocatedAddress {
    var bridge = try self.bridge(name, subnet)
    var taken = Set(draft.next.addresses.filter { $0.bridge == bridge.name }.map(\.ip))
    taken.formUnion(draft.next.mappings.map(\.backendIP))
    if !bridge.isOwn { taken.formUnion(try workspace.network().neighbours(of: bridge.name)) }
    let pool = AddressPool(subnet: bridge.subnet, taken: taken, cursor: bridge.cursor, freed: bridge.freed)
    guard let address = pool.next() else {
      throw Failure(
        .conflict,
        "all addresses of \(bridge.name) (\(bridge.subnet.networkDescription)) are taken"
      )
    }
    bridge.freed.removeAll { $0 == address }
    if bridge.cursor.map({ $0 < address }) ?? true { bridge.cursor = address }
    draft.next.bridges.removeAll { $0.name == bridge.name }
    draft.next.bridges.append(bridge)
    return AllocatedAddress(ip: address, bridge: bridge.name)
  }

  /// Plugs a network namespace into a bridge: a pair of links, the address, the default route.
  func plug(_ namespace: String, into lease: inout AllocatedAddress) throws {
    let network = try workspace.network()
    var theirs = stat()
    var own = stat()
    guard stat("/run/netns/\(namespace)", &theirs) == 0 else { throw NetworkError.noSuchNamespace(namespace) }
    if stat("/proc/self/ns/net", &own) == 0, (own.st_dev, own.st_ino) == (theirs.st_dev, theirs.st_ino) {
      throw NetworkError.ownNamespace(namespace)
    }
    guard let bridge = draft.next.bridge(lease.bridge) else { throw NetworkError.noSuchBridge(lease.bridge) }
    // Only root can look inside; a preview for others takes a fresh namespace for granted.
    let canLook = !workspace.isPreview || NetAdmin.isHeld
    let port = canLook ? try network.freeInterface(inNamespace: namespace) : "eth0"
    let link = "pm-\(draft.newID())"
    lease.name = namespace
    lease.link = link
    draft.links.append(link)
    let hasRoute = canLook ? try network.hasDefaultRoute(inNamespace: namespace) : false
    if hasRoute {
      workspace.warn("warning: \(namespace) has a default route already, which is left as it is")
    }
    draft.linkCommands.append(
      (
        nil,
        LinkCommands.pair(
          link,
          bridge.name,
          to: port,
          inNamespace: namespace,
          alias: workspace.alias(for: .init(address: lease.ip, name: namespace))
        )
      )
    )
    draft.linkCommands.append(
      (namespace, LinkCommands.guest(port, lease.ip, on: bridge.subnet, withRoute: !hasRoute))
    )
  }

  /// The bridge that is meant, as it is now.
  private func bridge(_ given: String?, _ subnet: Subnet?) throws -> BridgeRecord {
    let network = try workspace.network()
    let name = try given ?? defaultName(network)
    if let link = try network.link(name) {
      if let own = draft.next.bridge(name), own.isOwn {
        try check(own, subnet)
        return own
      }
      guard link.isBridge else { throw NetworkError.notABridge(name) }
      guard let first = link.subnets.first else { throw NetworkError.bridgeWithoutIPv4(name) }
      if link.subnets.count > 1 {
        workspace.warn("warning: bridge \(name) has several IPv4 addresses; \(first) counts")
      }
      var record = BridgeRecord(name: name, subnet: first, isOwn: false)
      try check(record, subnet)
      if let known = draft.next.bridge(name), known.subnet == first { record = known }
      draft.forwarding.insert(.v4)
      return record
    }
    if let own = draft.next.bridge(name), own.isOwn {
      // It was deleted behind portmap's back, or is about to be made; its rules are there.
      if !draft.links.contains(name) { planLink(own) }
      return own
    }
    guard isDefault(name) else { throw NetworkError.noSuchBridge(name) }
    return try make(name, subnet, network)
  }

  private func check(_ bridge: BridgeRecord, _ wanted: Subnet?) throws {
    guard let wanted, wanted.networkDescription != bridge.subnet.networkDescription else { return }
    throw Failure(
      .failed,
      "bridge \(bridge.name) has the network \(bridge.subnet.networkDescription), not \(wanted)"
    )
  }

  /// portmap0, unless it belongs to another state folder: then portmap1, and so on.
  private func defaultName(_ network: IPRoute) throws -> String {
    for number in 0..<100 {
      let name = "portmap\(number)"
      if draft.next.bridge(name)?.isOwn == true { return name }
      guard let alias = try network.link(name)?.ifalias.flatMap({ LinkAlias($0) }),
        alias.owner != workspace.alias().owner
      else { return name }
    }
    return BridgePlan.defaultName
  }

  private func isDefault(_ name: String) -> Bool {
    name.hasPrefix("portmap") && name.count <= 9 && name.dropFirst(7).allSatisfy { $0.isASCII && $0.isNumber }
  }

  /// Plans a bridge of portmap's own, with its rules, which come before its address.
  private func make(_ name: String, _ wanted: Subnet?, _ network: IPRoute) throws -> BridgeRecord {
    let routes = try network.routes()
    if let wanted, let overlapping = routes.first(where: { $0.overlaps(wanted) }) {
      throw NetworkError.subnetTaken(wanted, by: overlapping)
    }
    guard let subnet = wanted.map(\.withGateway) ?? BridgePlan.choose(routes: routes) else {
      throw NetworkError.noFreeNetwork
    }
    var record = BridgeRecord(name: name, subnet: subnet, isOwn: true)
    record.rules = workspace.layout.rules(forBridge: name, subnet)
    record.serial = draft.serial
    planLink(record)
    return record
  }

  private func planLink(_ bridge: BridgeRecord) {
    draft.forwarding.insert(.v4)
    draft.links.append(bridge.name)
    draft.linkCommands.append(
      (nil, LinkCommands.bridge(bridge.name, bridge.subnet, alias: workspace.alias()))
    )
  }
}

extension Subnet {
  /// The same network with an address of its own: the first one where none was named.
  var withGateway: Subnet {
    guard address == network else { return self }
    return Subnet(IPAddress(family: address.family, value: address.value + 1), prefixLength: prefixLength)
      ?? self
  }
}
