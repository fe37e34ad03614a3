import Glibc

/// Turns differences of links into the changes that mend them.
struct LinkRepair {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  /// The change that mends a difference, and what it comes to; nil for what is no difference of links, or not
  /// portmap's to mend.
  func change(for difference: Difference) throws -> (LinkChange, Mended)? {
    switch difference {
    case .bridgeMissing(let bridge) where bridge.isOwn:
      return (.addBridge(bridge.name, bridge.subnet, alias: workspace.alias()), .madeBridge(bridge.name))
    case .bridgeAddressMissing(let bridge) where bridge.isOwn:
      return (.addAddress(bridge.subnet, to: bridge.name), .gaveAddress(bridge: bridge.name))
    case .bridgeDown(let bridge):
      return (.setUp(bridge.name), .setUp(bridge: bridge.name))
    case .guestUnplugged(let address), .guestLinkDown(let address), .guestHairpinOff(let address):
      guard let link = address.link else { return nil }
      return (.plug(link, into: address.bridge), .pluggedIn(link: link, bridge: address.bridge))
    case .guestLinkMissing(let address), .guestReplaced(let address):
      return try plugInAgain(address)
    default:
      return nil
    }
  }

  private func plugInAgain(_ address: AllocatedAddress) throws -> (LinkChange, Mended)? {
    guard let link = address.link, let namespace = address.name,
      let bridge = workspace.state.bridge(address.bridge)
    else { return nil }
    guard access("/run/netns/\(namespace)", F_OK) == 0 else { throw NetworkError.noSuchNamespace(namespace) }
    let (change, _) = try GuestPlug(workspace).change(
      plugging: namespace,
      address.ip,
      into: bridge,
      by: link
    )
    return (change, .pluggedInNamespace(namespace, bridge: bridge.name))
  }
}

/// Plans how a network namespace is plugged into a bridge.
struct GuestPlug {
  private let workspace: Workspace

  init(_ workspace: Workspace) { self.workspace = workspace }

  /// - Returns: The change, and whether the namespace has a default route already, which is left as it is.
  func change(
    plugging namespace: String,
    _ address: IPAddress,
    into bridge: BridgeRecord,
    by link: String
  ) throws -> (LinkChange, hasRoute: Bool) {
    let network = try workspace.network()
    // Only root can look inside; a preview for others takes a fresh namespace for granted.
    let canLook = !workspace.isPreview || Capability.mayAdministerNetwork
    let hasRoute = canLook ? try network.hasDefaultRoute(inNamespace: namespace) : false
    let guest = LinkChange.Guest(
      namespace: namespace,
      address: address,
      interface: canLook ? try network.freeInterface(inNamespace: namespace) : "eth0",
      withRoute: !hasRoute
    )
    let alias = workspace.alias(for: .init(address: address, name: namespace))
    return (.plugIn(guest, by: link, to: bridge.name, bridge.subnet, alias: alias), hasRoute)
  }
}
