// What is wrong with a backend, in words, and what to do about it.

extension BackendFault {
  /// `172.16.42.2:80`, `172.16.42.2:80-90/udp`, `127.0.0.1:80 in web`.
  var subject: String {
    "\(address.bracketed)\(ports.map { ":\($0)\(transport.suffix)" } ?? "")\(into.map { " in \($0)" } ?? "")"
  }

  var problem: String {
    switch reason {
    case .noRoute where address.isLoopback: "no route to it (lo is down\(into == nil ? "" : " in there"))"
    case .noRoute(let networks):
      "no route to it"
        + (networks.isEmpty
          ? ""
          : " (this host's networks: \(networks.prefix(4).map(\.networkDescription).joined(separator: ", ")))")
    case .noNeighbour(let link): "no neighbour answers on \(link) (nobody has the address)"
    case .otherLink(let link, let owner):
      "no answer: the route leads through \(link), its network is \(owner)'s"
    case .refused: "connection refused (nothing listens there)"
    case .listensOnLoopback(let loopback): "connection refused (it listens on \(loopback) alone)"
    case .refusedByFirewall: "connection refused, though it listens (a firewall in the guest)"
    case .rejected: "rejected (a firewall or a router says that there is no way)"
    case .silent: "\(Self.silence) (a firewall in the guest drops it)"
    case .silentBehind(let gateway, let link):
      "\(Self.silence) by way of \(gateway) on \(link)"
    case .dropsReversePath(let links):
      "its answers are dropped: rp_filter is strict"
        + (links.isEmpty ? "" : " on \(links.joined(separator: ", "))")
    case .noWayBack(.noRoute): "it has no route back to clients of other networks"
    case .noWayBack(.otherRoute): "its answers to other networks take another way, or are dropped"
    case .noWayBack(.unknown): "no answer to other networks (no route back, or a firewall)"
    case .forwardingOff(let link): "\(link) forwards nothing (net.ipv4.conf.\(link).forwarding is 0)"
    case .neighboursAnsweredDirectly(let network):
      "clients of its own network \(network.networkDescription) get no answer"
    case .notAsked(let errno): "it cannot be asked: \(SystemError(call: "connect", errno: errno).reason)"
    case .namespaceClosed(let error): error.reason
    case .sampled(let asked): "\(asked) of these \(ports?.count ?? 0) ports were asked"
    }
  }

  /// What to do about it; nil where that goes without saying.
  var remedy: String? {
    switch reason {
    case .noRoute where address.isLoopback:
      if let into, !into.isPath, into.pid == nil {
        "ip -n \(into) link set lo up"
      } else {
        "ip link set lo up" + (into == nil ? "" : ", in there")
      }
    case .noRoute(let networks) where networks.isEmpty:
      "give \(into == nil ? "this host" : "the guest") a route to it"
    case .noRoute: "give the guest an address of one of them, or this host a route"
    case .noNeighbour(let link): "is the guest up, is this its address, is it plugged into \(link)?"
    case .otherLink: "ip route get \(address) shows the route: delete what leads elsewhere"
    case .refused(let listening) where !listening.isEmpty:
      "open there: \(listening.map { "\($0)" }.joined(separator: ", ")); map HOST:\(listening[0])"
    case .refused where !address.isLoopback:
      "start it, on \(address) or everywhere; on 127.0.0.1 it needs --into"
    case .listensOnLoopback: "let it listen on \(address) or everywhere, or map it with --into"
    case .refusedByFirewall, .silent: "let the port in there, from every address: clients keep theirs"
    case .rejected: "ip route get \(address) shows the way to it"
    case .silentBehind: "is the address right? it is in none of this host's networks"
    case .dropsReversePath(let links):
      links.first.map { "sysctl -w net.ipv4.conf.\($0).rp_filter=2" }
    case .noWayBack: "map it with --masquerade, or make this host its default route"
    case .forwardingOff(let link): "sysctl -w net.ipv4.conf.\(link).forwarding=1"
    case .neighboursAnsweredDirectly: "unmap it and map it again: its network is another one since"
    case .namespaceClosed, .notAsked, .refused, .sampled: nil
    }
  }

  /// Whether it is about the backend of a mapping that a selection names.
  func concerns(_ selection: Selection, in state: State) -> Bool {
    state.mappings.contains { selection.mappings.contains($0.id) && isAbout($0.mapping) }
  }

  private func isAbout(_ mapping: Mapping) -> Bool {
    guard mapping.backendIP == address, mapping.into?.name == into else { return false }
    guard let ports else { return true }
    return mapping.transport == transport && mapping.backendPorts.overlaps(ports)
  }

  private static let silence = "no answer in \(PortProbe.milliseconds / 1000) seconds"
}

extension ProbeStep: CustomStringConvertible {
  var description: String {
    switch self {
    case .route(let address, let route):
      let way =
        route.isLocal ? "this host's own" : "by \(route.link)\(route.gateway.map { " and \($0)" } ?? "")"
      return "\(address): \(way)\(route.source.map { ", from \($0)" } ?? "")"
    case .noRoute(let address, let errno):
      return "\(address): \(SystemError(call: "netlink", errno: errno).reason)"
    case .asked(let question, let answer):
      let source = question.source.map { ", asked from \($0)" } ?? ""
      return "\(question.address)\(question.transport.suffix): \(answer.words(question.transport))\(source)"
    }
  }
}

extension PortAnswer {
  fileprivate func words(_ transport: Transport) -> String {
    switch self {
    case .open: transport == .udp ? "answers" : "connected"
    case .silent: transport == .udp ? "no refusal" : "no answer"
    case .failed(let errno): SystemError(call: "connect", errno: errno).reason
    }
  }
}
