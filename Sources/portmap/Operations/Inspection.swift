import Glibc

/// Compares the state with what is there.
struct Inspection {
  let workspace: Workspace

  private var state: State { workspace.state }

  /// Every difference, and every reason why a mapping may not work.
  func problems() throws -> [Problem] {
    var problems: [Problem] = []
    for mapping in state.mappings where mapping.status == .broken {
      problems.append(Problem(subject: "\(mapping)", problem: "its removal was not finished"))
    }
    problems += try processes() + addresses()
    if mayLookAtRules { problems += try rules() }
    return problems
  }

  /// Rules are root's alone to see; without any there is nothing to compare for others.
  private var mayLookAtRules: Bool { NetAdmin.isHeld || !state.chains.isEmpty }

  // MARK: rules

  /// What iptables holds of one family next to what it should.
  func comparison(_ family: IPAddress.Family, _ firewall: Firewall) throws -> (RuleComparison, SavedRules) {
    let expectation = ExpectedRules(state)
    let saved = try firewall.saved(family)
    return (
      RuleComparison(
        family,
        chains: expectation.chains,
        entries: expectation.entries,
        saved: saved,
        workspace.layout
      ), saved
    )
  }

  private func rules() throws -> [Problem] {
    let firewall = try workspace.firewall()
    guard !state.chains.isEmpty || firewall.isInstalled else { return [] }
    let backend = try firewall.backend()
    if let recorded = state.firewallBackend, recorded != backend {
      return [
        Problem(
          subject: "iptables",
          problem: "it is (\(backend)), but the rules were made with (\(recorded))"
        )
      ]
    }
    var problems: [Problem] = []
    for family in IPAddress.Family.allCases where firewall.serves(family) {
      let (comparison, saved) = try comparison(family, firewall)
      problems += comparison.problems + foreign(saved, family)
    }
    let bridges = state.bridges.filter(\.isOwn).map { ($0.name, $0.subnet) }
    return problems
      + NativeTables(runner: workspace.runner, link: try Interfaces.current().link).problems(
        state.mappings,
        bridges: bridges
      )
  }

  private func foreign(_ saved: SavedRules, _ family: IPAddress.Family) -> [Problem] {
    let rules = ForeignRules(saved: saved, layout: workspace.layout)
    let chain = workspace.layout.place(.dnat, family).name
    return state.mappings.filter { $0.nat && $0.backendIP.family == family }.flatMap { mapping in
      ["PREROUTING", "OUTPUT"].flatMap { rules.taking(mapping, hook: $0, before: chain) }
        .map { Problem(subject: "\(mapping)", problem: "a rule of somebody else's comes first: \($0)") }
    }
  }

  // MARK: processes and their sockets

  private func processes() throws -> [Problem] {
    var problems: [Problem] = []
    for holder in state.holders {
      let name = "background process \(holder.process.pid) (\(holder.id))"
      guard holder.process.isAlive,
        let client = try? HolderClient.connect(to: holder.id, in: workspace.folder.descriptor),
        let held = try? client.describe()
      else {
        let problem = holder.process.isAlive ? "it does not answer" : "it is dead"
        problems.append(Problem(subject: name, problem: problem))
        problems += stolen(holder.id)
        continue
      }
      let ids = Set(held.map(\.id))
      let wanted = leases(of: holder.id)
      for lease in wanted where !ids.contains(lease.id) {
        problems.append(
          Problem(subject: lease.name, problem: "background process \(holder.process.pid) does not hold it")
        )
      }
      for lease in held where !wanted.contains(where: { $0.id == lease.id }) {
        problems.append(Problem(subject: name, problem: "it holds \(lease.name), which nothing has"))
      }
    }
    for id in strayHolders() {
      problems.append(Problem(subject: "background process (\(id))", problem: "nothing has it"))
    }
    return problems
  }

  /// The ports of a process that is gone which somebody else has taken since.
  private func stolen(_ holder: String) -> [Problem] {
    leases(of: holder).flatMap { lease in
      lease.ports.ports.compactMap { port -> Problem? in
        do throws(SystemError) {
          _ = try PortSocket.reserve(lease.transport, lease.hostIP, port)
          return nil
        } catch {
          guard error.errno == EADDRINUSE else { return nil }
          let owner = PortUser.find(lease.transport, port) ?? "another process"
          return Problem(
            subject: "\(lease.hostIP.prefix)\(port)\(lease.transport.suffix)",
            problem: "\(owner) has it"
          )
        }
      }
    }
  }

  /// What the state says a process holds.
  func leases(of holder: String) -> [Holding] {
    state.mappings.filter { $0.holder == holder && $0.status == .active }.map(\.lease)
      + state.reservations.filter { $0.holder == holder }.map(\.lease)
  }

  /// Control sockets in the folder of processes that the state does not know.
  func strayHolders() -> [String] {
    let names = Files.names(in: "/proc/self/fd/\(workspace.folder.descriptor.raw)") ?? []
    return names.filter { $0.hasPrefix("hold-") }.map { String($0.dropFirst(5)) }
      .filter { state.holder($0) == nil }.sorted()
  }

  // MARK: addresses and links

  /// Links by this folder's alias that the state does not know.
  func strayLinks() throws -> [String] {
    guard NetAdmin.isHeld else { return [] }
    let known = Set(state.bridges.map(\.name) + state.addresses.compactMap(\.link))
    return try workspace.network().links(of: workspace.alias()).map(\.link.ifname).filter {
      !known.contains($0)
    }
  }

  private func addresses() throws -> [Problem] {
    var problems = try strayLinks().map { Problem(subject: "link \($0)", problem: "nothing has it") }
    if NetAdmin.isHeld { problems += try Hairpin(workspace: workspace).problems() }
    guard !state.bridges.isEmpty || !state.addresses.isEmpty else { return problems }
    let network = try workspace.network()
    for bridge in state.bridges where isInUse(bridge) {
      guard let link = try network.link(bridge.name) else {
        problems.append(Problem(subject: "bridge \(bridge.name)", problem: "it is gone"))
        continue
      }
      if !link.subnets.contains(bridge.subnet) {
        problems.append(
          Problem(subject: "bridge \(bridge.name)", problem: "its address \(bridge.subnet) is gone")
        )
      }
      if bridge.isOwn, !link.isUp {
        problems.append(Problem(subject: "bridge \(bridge.name)", problem: "it is down"))
      }
    }
    for lease in state.addresses {
      guard let name = lease.link else { continue }
      let subject = "address \(lease.ip) (\(lease.name ?? name))"
      guard let link = try network.link(name) else {
        problems.append(Problem(subject: subject, problem: "its link \(name) is gone"))
        continue
      }
      if link.master != lease.bridge {
        problems.append(
          Problem(subject: subject, problem: "its link \(name) is not plugged into \(lease.bridge)")
        )
      } else if !link.isUp {
        problems.append(Problem(subject: subject, problem: "its link \(name) is down"))
      } else if link.linkinfo?.info_slave_data?.hairpin != true {
        problems.append(Problem(subject: subject, problem: "its link \(name) has lost its hairpin mode"))
      }
    }
    return problems
  }

  /// Somebody else's bridge may go when no address is given out on it.
  private func isInUse(_ bridge: BridgeRecord) -> Bool {
    bridge.isOwn || state.addresses.contains { $0.bridge == bridge.name }
  }
}

extension Holding {
  fileprivate var name: String { "\(hostIP.prefix)\(ports)\(transport.suffix)" }
}

extension Mapping {
  /// What its background process knows of it.
  var lease: Holding {
    Holding(
      id: id,
      transport: transport,
      hostIP: hostIP,
      ports: hostPorts,
      backend: Holding.Backend(
        ip: backendIP,
        firstPort: backendPort,
        proxy: proxy,
        nat: nat,
        rules: !rules.isEmpty,
        masquerade: masquerade,
        proxyProtocol: proxyProtocol
      )
    )
  }
}

extension Reservation {
  /// What its background process knows of it.
  var lease: Holding {
    Holding(
      id: id,
      transport: transport,
      hostIP: hostIP,
      ports: PortRange(first: port, count: 1) ?? .unknown,
      isLent: lent
    )
  }
}
