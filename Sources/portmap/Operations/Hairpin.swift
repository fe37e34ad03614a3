/// Hairpin mode of bridge ports that portmap did not plug in.
///
/// Where bridged packets pass iptables (bridge-nf-call-iptables is 1), a guest that calls its own mapped port is
/// answered through the port it came from, which a bridge does only in hairpin mode.
struct Hairpin {
  let workspace: Workspace

  func problems() throws -> [Problem] {
    let network = try workspace.network()
    var problems: [Problem] = []
    for backend in Set(workspace.state.mappings.filter(\.nat).map(\.backendIP)).sorted() {
      let family = backend.family == .v4 ? "iptables" : "ip6tables"
      guard Files.word(of: "/proc/sys/net/bridge/bridge-nf-call-\(family)") == "1" else { continue }
      guard !workspace.state.addresses.contains(where: { $0.ip == backend && $0.link != nil }) else {
        continue
      }
      guard let port = try network.bridgePort(of: backend), port.linkinfo?.info_slave_data?.hairpin == false
      else {
        continue
      }
      problems.append(
        Problem(
          subject: "\(backend)",
          problem: "it cannot reach its own mapped ports: \(port.ifname) has no hairpin mode"
            + " (ip link set \(port.ifname) type bridge_slave hairpin on)"
        )
      )
    }
    return problems
  }
}
