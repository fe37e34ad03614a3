import CLinux
import Glibc

/// Takes away what an intent names, as far as it is there. Everything is tried, whatever fails on the way.
struct Teardown {
  let workspace: Workspace

  /// - Returns: What failed, in the order in which it was tried.
  func carryOut(_ intent: Removal) -> [any Error] {
    var failures: [any Error] = []
    func attempt(_ body: () throws -> Void) {
      do { try body() } catch { failures.append(error) }
    }
    // Links first: the rules that guard a bridge go after it.
    for link in intent.links where if_nametoindex(link) != 0 {
      attempt { try workspace.network().batch(["link delete \(link)"]) }
    }
    if !intent.change.isEmpty {
      attempt {
        let (firewall, isOther) = try workspace.firewall(of: intent.firewallBackend)
        if isOther, let backend = intent.firewallBackend {
          workspace.warn(
            "iptables is another now: rules made with iptables (\(backend)) are removed with that"
          )
        }
        try firewall.remove(intent.change)
      }
    }
    attempt { try forget(intent.flows) }
    for (holder, leases) in Dictionary(grouping: intent.leases, by: \.holder) {
      attempt { try release(leases.map(\.lease), from: holder) }
    }
    for holder in intent.holders { end(holder) }
    return failures
  }

  /// Deletes old flows of these ports.
  func forget(_ filters: [FlowFilter]) throws {
    guard !filters.isEmpty else { return }
    let interfaces = try Interfaces.current()
    let flows = Flows(
      runner: workspace.runner,
      lock: try workspace.namespaceLock()?.descriptor,
      isLocal: interfaces.isLocal
    )
    if try !flows.forget(filters), filters.contains(where: { $0.transport == .udp }) {
      workspace.warn(
        "warning: conntrack is not installed: UDP clients that were sending already may not get through"
      )
    }
  }

  private func release(_ leases: [String], from holder: String) throws {
    guard let client = try HolderClient.connect(to: holder, in: workspace.folder.descriptor) else { return }
    try client.release(leases)
  }

  /// Ends a background process: by letting go of all it holds, or by force when it does not answer.
  private func end(_ holder: String) {
    let folder = workspace.folder.descriptor
    defer { unlinkat(folder.raw, HolderClient.socketName(holder), 0) }
    guard let client = try? HolderClient.connect(to: holder, in: folder), let pid = client.pid,
      let process = ProcessIdentity(pid: pid)
    else { return }
    if let leases = try? client.describe() { try? client.release(leases.map(\.id)) }
    if !process.ends(within: 1000) { process.kill() }
  }
}
