/// Compares bridges and the links of guests with what the state says of them.
struct LinkInspection {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  private var state: State { workspace.state }

  func differences() throws -> [Difference] {
    var found: [Difference] = []
    if Capability.mayAdministerNetwork { found += try unknownLinks() + hairpins() }
    return try found + differencesOfRecords()
  }

  func differencesOfRecords() throws -> [Difference] {
    var found: [Difference] = []
    guard !state.bridges.isEmpty || !state.addresses.isEmpty else { return found }
    let network = try workspace.network()
    for bridge in state.bridges where isInUse(bridge) {
      found += Self.differences(of: bridge, try network.link(bridge.name))
    }
    let guests = state.addresses.filter { $0.link != nil }
    let links = try guests.map { try $0.link.flatMap(network.link) }
    // Behind the links: the kernel gives a namespace its number when it first tells where a link leads.
    let numbers = guests.isEmpty ? [:] : try network.namespaceNumbers()
    found += zip(guests, links).compactMap { Self.difference(of: $0, $1, numbers) }
    return found
  }

  /// Somebody else's bridge may go when no address is given out on it.
  private func isInUse(_ bridge: BridgeRecord) -> Bool {
    bridge.isOwn || state.addresses.contains { $0.bridge == bridge.name }
  }

  private static func differences(of bridge: BridgeRecord, _ link: IPRoute.Link?) -> [Difference] {
    guard let link else { return [.bridgeMissing(bridge)] }
    var found: [Difference] = []
    if !link.subnets.contains(bridge.subnet) { found.append(.bridgeAddressMissing(bridge)) }
    if bridge.isOwn, !link.isUp { found.append(.bridgeDown(bridge)) }
    return found
  }

  /// - Parameter numbers: Those of the namespaces, by name.
  private static func difference(
    of address: AllocatedAddress,
    _ link: IPRoute.Link?,
    _ numbers: [String: Int]
  ) -> Difference? {
    guard let link else { return .guestLinkMissing(address) }
    // One that is there without a number has no link to this namespace.
    if let name = address.name, Files.exists("/run/netns/\(name)"), link.link_netnsid != numbers[name] {
      return .guestReplaced(address)
    }
    if link.master != address.bridge { return .guestUnplugged(address) }
    if !link.isUp { return .guestLinkDown(address) }
    return link.linkinfo?.info_slave_data?.hairpin == true ? nil : .guestHairpinOff(address)
  }

  /// Links with this folder's alias that the state does not know.
  private func unknownLinks() throws -> [Difference] {
    let known = Set(state.bridges.map(\.name) + state.addresses.compactMap(\.link))
    return try workspace.network().links(of: workspace.alias()).map(\.link.ifname)
      .filter { !known.contains($0) }.map { .linkUnknown($0) }
  }

  /// Bridge ports of backends that portmap did not plug in, without hairpin mode.
  ///
  /// Where bridged packets pass iptables (bridge-nf-call-iptables is 1), a guest that calls its own mapped port is
  /// answered through the port it came from, which a bridge does only in hairpin mode.
  private func hairpins() throws -> [Difference] {
    let network = try workspace.network()
    return try Set(state.mappings.filter(\.delivery.nat).map(\.backendIP)).sorted().compactMap { backend in
      let program = backend.family == .v4 ? "iptables" : "ip6tables"
      guard Files.word(of: "/proc/sys/net/bridge/bridge-nf-call-\(program)") == "1",
        !state.addresses.contains(where: { $0.ip == backend && $0.link != nil }),
        let port = try network.bridgePort(of: backend), port.linkinfo?.info_slave_data?.hairpin == false
      else { return nil }
      return .hairpinOff(backend, port: port.ifname)
    }
  }
}
