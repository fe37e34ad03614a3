import CLinux
import Glibc

/// What `repair` does about a state file that cannot be read: keeps a copy, and asks the background processes and the
/// links, which tell of themselves what they are for.
enum Salvage {
  /// Opens the workspace as any changing command does, with a state rebuilt where the file is of no use.
  static func open(_ setting: Setting) throws -> (Workspace, [Mended]) {
    do {
      return (try Workspace.open(setting), [])
    } catch let error as StateError where error.path.hasSuffix("/" + StateFile.name) && !error.isPermission {
      let workspace = try Workspace.openEmpty(setting)
      try checkNamespaces(workspace)
      let copy = try keepCopy(in: workspace.folder)
      workspace.state = try rebuilt(workspace)
      try workspace.save(mayUseSpare: true)
      let count = workspace.state.mappings.count + workspace.state.reservations.count
      return (
        workspace, [.salvaged(path: error.path, problem: error.problem, copy: copy), .rebuilt(count: count)]
      )
    }
  }

  /// Makes sure that the processes in the folder are of this namespace: those of another one are not to be taken over.
  private static func checkNamespaces(_ workspace: Workspace) throws {
    let folder = workspace.folder
    for id in ProcessInspection(workspace).unknown {
      guard let client = try? HolderClient.connect(to: id, in: folder.descriptor),
        let process = client.process
      else { continue }
      if try !isHere(client, process) { throw OtherNamespace.error(folder, process) }
    }
  }

  /// Whether a process is in this namespace. One of the first version does not say so, but can be looked at.
  private static func isHere(_ client: HolderClient, _ process: ProcessIdentity) throws -> Bool {
    if let cookie = try client.namespaceCookie() { return cookie == clinux_netns_cookie() }
    let namespace = NetworkNamespace(of: process.pid)
    return namespace == nil || namespace == NetworkNamespace(of: getpid())
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

  /// The state of a host on which somebody wants all that processes hold and links are for.
  private static func rebuilt(_ workspace: Workspace) throws -> State {
    var wanted = Wanted(holder: "")
    var holders: [HolderRecord] = []
    for id in ProcessInspection(workspace).unknown {
      guard let client = try? HolderClient.connect(to: id, in: workspace.folder.descriptor),
        let process = client.process, let held = try? client.describe()
      else { continue }
      let guest = try? client.entered()
      holders.append(HolderRecord(id: id, process: process))
      for holding in held {
        wanted.otherHolders[holding.id] = id
        switch holding {
        case .mapping(var mapping):
          mapping.into = guest
          wanted.mappings.append(mapping)
        case .reservation(let reservation): wanted.reservations.append(reservation)
        }
      }
    }
    if Capability.mayAdministerNetwork { try addLinks(to: &wanted, workspace) }
    let facts = HostFacts(
      layout: workspace.layout,
      interfaces: try Interfaces.current(),
      firewall: wanted.needsRules ? try workspace.firewallFacts() : nil,
      connects: workspace.leadsConnections(of: wanted.mappings)
    )
    var state = try Plan.making(wanted, in: workspace.state, on: facts).next
    state.holders = holders
    return state
  }

  /// The bridge and the guests that are plugged in say by their links' aliases what they are.
  private static func addLinks(to wanted: inout Wanted, _ workspace: Workspace) throws {
    for (link, alias) in try workspace.network().links(of: workspace.alias()) {
      if let guest = alias.guest, let bridge = link.master {
        wanted.addresses.append(
          AllocatedAddress(ip: guest.address, bridge: bridge, name: guest.name, link: link.ifname)
        )
      } else if link.isBridge, let subnet = link.subnets.first {
        wanted.bridges.append(BridgeRecord(name: link.ifname, subnet: subnet, isOwn: true))
      }
    }
  }
}
