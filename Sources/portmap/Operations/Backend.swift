import Glibc

/// Finding out which address a mapping leads to.
struct BackendResolver {
  let workspace: Workspace
  let draft: Draft

  struct Backend {
    let ip: IPAddress
    /// The address of the bridge network that was given out for this call.
    var implicit: AllocatedAddress?
  }

  /// - Parameter target: An address, the name of an allocated address or of a network namespace; nil for the next
  ///   address of the bridge network.
  func resolve(_ target: String?, bridge: String?) throws -> Backend {
    guard let target else {
      var lease = try Guests(workspace: workspace, draft: draft).lease(bridge: bridge, subnet: nil)
      lease.isImplicit = true
      draft.next.addresses.append(lease)
      return Backend(ip: lease.ip, implicit: lease)
    }
    if let address = IPAddress(target) { return Backend(ip: address) }
    if let lease = workspace.state.addresses.first(where: { $0.name == target }) {
      return Backend(ip: lease.ip)
    }
    return Backend(ip: try address(ofNamespace: target))
  }

  /// The first address of a namespace that is not loopback or link-local, IPv4 before IPv6.
  private func address(ofNamespace name: String) throws -> IPAddress {
    guard access("/run/netns/\(name)", F_OK) == 0 else {
      throw Failure(
        .failed,
        "'\(name)' is neither an allocated address nor a network namespace",
        hint: "portmap list shows the addresses, ip netns the namespaces; host names are not looked up"
      )
    }
    let links = try workspace.network().links(inNamespace: name)
    let addresses = links.flatMap { $0.addr_info ?? [] }.compactMap { $0.local.flatMap { IPAddress($0) } }
      .filter { !$0.isLoopback && !$0.isLinkLocal }
    guard let address = addresses.first(where: { $0.family == .v4 }) ?? addresses.first else {
      throw Failure(
        .failed,
        "network namespace \(name) has no address",
        hint: "portmap alloc --netns \(name) gives it one"
      )
    }
    return address
  }
}
