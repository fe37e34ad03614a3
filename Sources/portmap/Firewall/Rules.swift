/// Makes the rules that mappings, backends and bridges need, as values.
extension ChainLayout {
  /// Returns what a mapping alone needs: its DNAT rule, and accept rules for what its proxy serves to the outside.
  ///
  /// - Parameter conditions: Further matches of the DNAT rule, as iptables takes them.
  func rules(for mapping: Mapping, conditions: [String] = []) -> [Rule] {
    let host = mapping.hostPorts
    var rules: [Rule] = []
    if mapping.delivery.nat {
      rules.append(dnat(mapping, host: host, backend: mapping.backendPorts, conditions))
      if mapping.delivery.masquerade { rules.append(masquerade(mapping, host: host)) }
    }
    if mapping.delivery.proxy {
      rules += mapping.hostIP.families.compactMap { accept(mapping, host: host, family: $0) }
    }
    return rules
  }

  private func dnat(
    _ mapping: Mapping,
    host: PortRange,
    backend: PortRange,
    _ conditions: [String]
  ) -> Rule {
    let family = mapping.backendIP.family
    let (place, position) = place(.dnat, family, mapping.transport, host)
    // Link-local clients cannot be answered through DNAT (their zone is lost): they are the proxy's.
    let source = family == .v6 ? "! -s fe80::/10 " : ""
    // A local client of the proxy knows all of the host's addresses (SCTP's INIT ACK names them) and sends heartbeats
    // to each: the backend would abort an association that it knows nothing of. So DNAT is for new ones alone.
    let beginning = mapping.transport == .sctp ? " --chunk-types any INIT" : ""
    // A condition may be about the destination too, and iptables takes one of a kind: conntrack knows it as well.
    let destination =
      conditions.isEmpty
      ? destination(mapping)
      : mapping.hostIP.address.flatMap { $0.isUnspecified ? nil : "-m conntrack --ctorigdst \($0) " } ?? ""
    let link = source.isEmpty || conditions.isEmpty ? source : "-m conntrack ! --ctorigsrc fe80::/10 "
    let match = [
      "\(link)\(destination)\(ports(mapping.transport, host))\(beginning)"
        + (conditions.isEmpty ? "" : " \(SavedRules.text(conditions))"), comment(mapping.id),
      "-j DNAT --to-destination \(target(mapping, host: host, backend: backend))",
    ]
    return Rule(family, place.table, position, place.name, match.joined(separator: " "))
  }

  /// Returns where the DNAT rule leads. A plain address keeps the ports as they are; a shifted range names its first
  /// original port, or the offset would be lost.
  private func target(_ mapping: Mapping, host: PortRange, backend: PortRange) -> String {
    let address = mapping.backendIP
    if host.isSingle { return "\(address.bracketed):\(backend.first)" }
    if host == backend { return "\(address)" }
    return "\(address.bracketed):\(backend)/\(host.first)"
  }

  /// Returns the rule that rewrites the source of this mapping's connections and no other's, told apart by where they
  /// were sent first.
  private func masquerade(_ mapping: Mapping, host: PortRange) -> Rule {
    let place = place(.post, mapping.backendIP.family)
    let number = [Transport.tcp: 6, .udp: 17, .sctp: 132][mapping.transport] ?? 0
    let first = mapping.hostIP.address.flatMap { $0.isUnspecified ? nil : " --ctorigdst \($0)" } ?? ""
    let match =
      "-d \(host32(mapping.backendIP)) -m conntrack --ctstate DNAT --ctproto \(number)\(first)"
      + " --ctorigdstport \(colon(host)) \(comment(mapping.id)) -j MASQUERADE"
    return Rule(place.family, place.table, .last, place.name, match)
  }

  /// Returns the rule that lets in what the proxy serves to the outside, which no DNAT has led past INPUT: the other
  /// family whole, and link-local clients of the backend's own. Nil where the proxy serves loopback alone.
  private func accept(_ mapping: Mapping, host: PortRange, family: IPAddress.Family) -> Rule? {
    var source = ""
    if family == mapping.backendIP.family, mapping.delivery.nat {
      guard family == .v6 else { return nil }
      source = "-s fe80::/10 "
    }
    let (place, position) = place(.input, family, mapping.transport, host)
    let match =
      "\(source)\(destination(mapping))\(ports(mapping.transport, host)) \(comment(mapping.id)) -j ACCEPT"
    return Rule(family, place.table, position, place.name, match)
  }

  /// Returns the rules that mappings share for one purpose.
  ///
  /// - Parameter subnet: The network that the backend is on; nil where a router lies in between.
  func rules(for purpose: SharedPurpose, subnet: Subnet?) -> [Rule] {
    switch purpose {
    case .forwarding(let backend): forwarding(to: backend, from: subnet)
    case .transit(let backend): [accept(to: backend, "transit")]
    case .replies(let backend): replies(from: backend)
    }
  }

  /// Returns what all mappings that are forwarded to a backend share.
  ///
  /// - Parameter subnet: The network that the backend is on; nil where it is behind a router.
  func forwarding(to backend: IPAddress, from subnet: Subnet?) -> [Rule] {
    let post = place(.post, backend.family)
    let neighbours = subnet?.networkDescription ?? host32(backend)
    return [
      accept(to: backend, "backend"),
      // A neighbour would get the backend's reply directly, from an address that it never wrote to.
      Rule(
        backend.family,
        post.table,
        .last,
        post.name,
        "-s \(neighbours) -d \(host32(backend)) -m conntrack --ctstate DNAT \(comment("backend")) -j MASQUERADE"
      ),
    ]
  }

  /// Returns the rule that accepts connections to a backend. It matches both directions, and the errors that routers
  /// send: the connection is one that the backend answers.
  private func accept(to backend: IPAddress, _ subject: String) -> Rule {
    let place = place(ofBackend: backend)
    let match = "-m conntrack --ctreplsrc \(backend) \(comment(subject)) -j ACCEPT"
    return Rule(backend.family, place.table, .last, place.name, match)
  }

  /// Returns what all mappings share whose proxy talks to a backend: its answers come in by INPUT.
  ///
  /// They are answers, and none of the packets of connections that the backend itself has opened to the host.
  func replies(from backend: IPAddress) -> [Rule] {
    let input = place(.input, backend.family)
    let match =
      "-s \(host32(backend)) -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY \(comment("backend"))"
    return [Rule(backend.family, input.table, .last, input.name, "\(match) -j ACCEPT")]
  }

  /// Returns what a bridge of portmap's own needs: its guests reach out under addresses of its network, and nobody
  /// reaches them but through a mapping.
  ///
  /// Packets between two guests may have any source: they do not leave the bridge, even where they pass through
  /// iptables on their way (bridge-nf-call-iptables is 1). So a forwarded packet with a forged source is dropped only
  /// if it leaves by another link. A packet to the host itself, and so to a mapped port, is dropped before DNAT; a guest
  /// that asks for an address (DHCP, from 0.0.0.0) sends a broadcast and is heard. The bridge has no network of IPv6:
  /// nothing leaves it, and the host hears its guests from link-local addresses, neighbour discovery included.
  func rules(forBridge name: String, _ subnet: Subnet) -> [Rule] {
    let network = subnet.networkDescription
    func rule(
      _ family: IPAddress.Family,
      _ trunk: Trunk,
      _ position: Rule.Position,
      _ match: String,
      _ action: String
    ) -> Rule {
      let place = place(trunk, family)
      return Rule(family, place.table, position, place.name, "\(match) \(comment("bridge")) -j \(action)")
    }
    return [
      rule(.v4, .raw, .last, "-d \(network) ! -i \(name)", "DROP"),
      rule(.v4, .raw, .last, "! -s \(network) -i \(name) -m addrtype --dst-type LOCAL", "DROP"),
      rule(.v4, .post, .last, "-s \(network) ! -o \(name)", "MASQUERADE"),
      rule(.v4, .forward, .first, "! -s \(network) -i \(name) ! -o \(name)", "DROP"),
      rule(.v4, .forward, .last, "-i \(name)", "ACCEPT"),
      rule(.v4, .forward, .last, "-o \(name) -m conntrack --ctstate RELATED,ESTABLISHED", "ACCEPT"),
      rule(.v6, .forward, .first, "-i \(name) ! -o \(name)", "DROP"),
      rule(.v6, .input, .first, "! -s fe80::/10 -i \(name) -m addrtype --dst-type LOCAL", "DROP"),
    ]
  }

  private func destination(_ mapping: Mapping) -> String {
    mapping.hostIP.address.flatMap { $0.isUnspecified ? nil : "-d \(host32($0)) " } ?? ""
  }

  private func ports(_ transport: Transport, _ range: PortRange) -> String {
    "-p \(transport.rawValue) -m \(transport.rawValue) --dport \(colon(range))"
  }

  private func colon(_ range: PortRange) -> String {
    range.isSingle ? "\(range.first)" : "\(range.first):\(range.last)"
  }

  private func host32(_ address: IPAddress) -> String { "\(address)/\(address.family.bits)" }
}
