import Foundation

/// What `repair` does about a state file that cannot be read: keeps a copy, and asks the background processes, which
/// know of themselves what they hold.
enum Salvage {
  /// Opens the workspace as any changing command does, with a state rebuilt where the file is of no use.
  ///
  /// - Returns: What was done about it, in words.
  static func open(_ context: Context) throws -> (Workspace, [String]) {
    do {
      return (try Workspace.open(context), [])
    } catch let error as StateError where error.path.hasSuffix("/" + StateFile.name) && !error.isPermission {
      let workspace = try Workspace.openEmpty(context)
      let copy = try keepCopy(in: workspace.folder)
      let count = try rebuild(workspace)
      return (
        workspace,
        [
          "\(error.path): \(error.problem); kept it as \(copy)",
          "took \(count) mappings and reservations from the background processes, addresses from the links",
        ]
      )
    }
  }

  private static func keepCopy(in folder: StateFolder) throws -> String {
    for number in 1... {
      let name = "\(StateFile.name).damaged-\(number)"
      if faccessat(folder.descriptor.raw, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 { continue }
      try syscall("rename", about: StateFile.name) {
        renameat(folder.descriptor.raw, StateFile.name, folder.descriptor.raw, name)
      }
      return name
    }
    return ""
  }

  /// Fills the state with what the processes hold, and with the rules that these mappings need.
  private static func rebuild(_ workspace: Workspace) throws -> Int {
    let interfaces = try Interfaces.current()
    var state = workspace.state
    state.serial = 1
    for id in Inspection(workspace: workspace).strayHolders() {
      guard let client = try? HolderClient.connect(to: id, in: workspace.folder.descriptor),
        let pid = client.pid,
        let process = ProcessIdentity(pid: pid), let leases = try? client.describe()
      else { continue }
      state.holders.append(HolderRecord(id: id, process: process))
      for lease in leases { add(lease, holder: id, to: &state, workspace.layout, interfaces) }
    }
    try addLinks(to: &state, workspace)
    if !state.rules.isEmpty {
      state.chains = RuleChange.adding(state.batch(1).rules, to: [], workspace.layout, serial: 1).chains
      state.firewallBackend = try workspace.firewall().backend()
    }
    workspace.state = state
    try workspace.save(mayUseSpare: true)
    return state.mappings.count + state.reservations.count
  }

  /// The bridge and the guests that are plugged in say by their links' aliases what they are.
  private static func addLinks(to state: inout State, _ workspace: Workspace) throws {
    guard NetAdmin.isHeld else { return }
    for (link, alias) in try workspace.network().links(of: workspace.alias()) {
      if let guest = alias.guest, let bridge = link.master {
        state.addresses.append(
          AllocatedAddress(ip: guest.address, bridge: bridge, name: guest.name, link: link.ifname)
        )
      } else if link.isBridge, let subnet = link.subnets.first {
        var bridge = BridgeRecord(name: link.ifname, subnet: subnet, isOwn: true)
        bridge.rules = workspace.layout.rules(forBridge: bridge.name, subnet)
        bridge.serial = 1
        state.bridges.append(bridge)
      }
    }
  }

  private static func add(
    _ lease: Holding,
    holder: String,
    to state: inout State,
    _ layout: ChainLayout,
    _ interfaces: Interfaces
  ) {
    guard let backend = lease.backend else {
      state.reservations.append(
        Reservation(
          id: lease.id,
          transport: lease.transport,
          hostIP: lease.hostIP,
          port: lease.ports.first,
          holder: holder,
          lent: lease.isLent
        )
      )
      return
    }
    let last = UInt16(truncatingIfNeeded: Int(backend.firstPort) + lease.ports.count - 1)
    var mapping = Mapping(
      id: lease.id,
      transport: lease.transport,
      hostIP: lease.hostIP,
      hostPort: lease.ports.first,
      hostPortEnd: lease.ports.last,
      backendIP: backend.ip,
      backendPort: backend.firstPort,
      backendPortEnd: last,
      nat: backend.nat,
      proxy: backend.proxy,
      masquerade: backend.masquerade,
      proxyProtocol: backend.proxyProtocol,
      holder: holder
    )
    if backend.rules {
      mapping.rules = layout.rules(for: mapping)
      mapping.serial = 1
      for key in mapping.sharedKeys where !state.shared.contains(where: { $0.key == key }) {
        let rules = layout.shared(key, mapping.backendIP, interfaces.subnet(of: mapping.backendIP))
        state.shared.append(SharedRules(key: key, rules: rules, serial: 1))
      }
    }
    state.mappings.append(mapping)
  }
}
