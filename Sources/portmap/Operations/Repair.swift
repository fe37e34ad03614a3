import Glibc

/// The mending of everything that an inspection can find. Each step is tried, whatever becomes of the others.
struct Repair {
  let workspace: Workspace
  /// What was done, in words.
  var done: [String] = []
  private(set) var failures: [any Error] = []

  init(workspace: Workspace) {
    self.workspace = workspace
  }

  mutating func everything() {
    attempt { try $0.finishRemovals() }
    attempt { try $0.endStrays() }
    attempt { try $0.restoreHolders() }
    attempt { try $0.restoreLinks() }
    attempt { try $0.restoreRules() }
    attempt { try $0.enableForwarding() }
  }

  private mutating func attempt(_ step: (inout Repair) throws -> Void) {
    do {
      try step(&self)
    } catch {
      failures.append(error)
    }
  }

  private var state: State { workspace.state }

  /// Removals that failed half-way are brought to their end.
  private mutating func finishRemovals() throws {
    let broken = state.mappings.filter { $0.status == .broken }
    guard !broken.isEmpty else { return }
    var match = Selection()
    match.mappings = Set(broken.map(\.id))
    try Release(match, everything: false, workspace: workspace).carryOut()
    done += broken.map { "finished the removal of \($0)" }
  }

  // MARK: processes

  /// Processes that the state does not know end; those that hold too much let go of it.
  private mutating func endStrays() throws {
    let inspection = Inspection(workspace: workspace)
    for id in inspection.strayHolders() {
      _ = Teardown(workspace: workspace).carryOut(Removal(holders: [id]))
      done.append("ended a background process that nothing had (\(id))")
    }
    for link in try inspection.strayLinks() {
      try workspace.network().batch(["link delete \(link)"])
      done.append("deleted the link \(link), which nothing had")
    }
    for holder in state.holders {
      guard let held = held(by: holder) else { continue }
      let wanted = Set(inspection.leases(of: holder.id).map(\.id))
      let extra = held.map(\.id).filter { !wanted.contains($0) }
      guard !extra.isEmpty, !wanted.isEmpty,
        let client = try HolderClient.connect(to: holder.id, in: workspace.folder.descriptor)
      else { continue }
      try client.release(extra)
      done.append("background process \(holder.process.pid) let go of what nothing had")
    }
  }

  private func held(by holder: HolderRecord) -> [Holding]? {
    guard holder.process.isAlive else { return nil }
    return try? HolderClient.connect(to: holder.id, in: workspace.folder.descriptor)?.describe()
  }

  /// What no process holds any more is reserved again, all by one new process.
  private mutating func restoreHolders() throws {
    let inspection = Inspection(workspace: workspace)
    var missing: [Holding] = []
    for holder in state.holders {
      let wanted = inspection.leases(of: holder.id)
      guard let held = held(by: holder) else {
        _ = Teardown(workspace: workspace).carryOut(Removal(holders: [holder.id]))
        if holder.process.isAlive { holder.process.kill() }
        missing += wanted
        continue
      }
      let ids = Set(held.map(\.id))
      missing += wanted.filter { !ids.contains($0.id) }
    }
    guard !missing.isEmpty else { return }
    var leases: [(lease: Holding, sockets: [Descriptor])] = []
    try DescriptorLimit.makeRoom(for: missing.reduce(0) { $0 + $1.ports.count })
    for lease in missing {
      do {
        let sockets = try lease.ports.ports.map { try PortSocket.reserve(lease.transport, lease.hostIP, $0) }
        if lease.isLent { try sockets.forEach(PortSocket.lend) }
        leases.append((lease, sockets))
      } catch let error as SystemError {
        failures.append(
          AllocationError.lost(port: error.subject ?? "", lease.transport, lease.ports.first, error)
        )
      }
    }
    guard !leases.isEmpty else { return }
    try hold(leases)
    done += leases.map { "held \($0.lease.hostIP.prefix)\($0.lease.ports)\($0.lease.transport.suffix) again" }
  }

  private func hold(_ leases: [(lease: Holding, sockets: [Descriptor])]) throws {
    let id = Identifier.make(unless: state.knows)
    let ids = Set(leases.map(\.lease.id))
    workspace.state.intent = Removal(holders: [id])
    try workspace.save(mayUseSpare: false)
    let (process, client) = try HolderLauncher.launch(id: id, in: workspace.folder.descriptor)
    try client.hold(leases)
    try client.begin()
    var next = state
    next.intent = nil
    for index in next.mappings.indices where ids.contains(next.mappings[index].id) {
      next.mappings[index].holder = id
    }
    for index in next.reservations.indices where ids.contains(next.reservations[index].id) {
      next.reservations[index].holder = id
    }
    let left = next.holders.filter { next.isInUse(holder: $0.id) }
    next.holders = left + [HolderRecord(id: id, process: process)]
    workspace.state = next
    try workspace.save(mayUseSpare: false)
  }

  // MARK: links

  private mutating func restoreLinks() throws {
    guard !state.bridges.isEmpty || !state.addresses.isEmpty else { return }
    let network = try workspace.network()
    for bridge in state.bridges where bridge.isOwn {
      let link = try network.link(bridge.name)
      if link == nil {
        try network.batch(LinkCommands.bridge(bridge.name, bridge.subnet, alias: workspace.alias()))
        done.append("made bridge \(bridge.name) again")
      } else if link?.subnets.contains(bridge.subnet) == false {
        try network.batch(["address add \(bridge.subnet) broadcast + dev \(bridge.name)"])
        done.append("gave bridge \(bridge.name) its address again")
      }
      if link?.isUp == false {
        try network.batch(["link set dev \(bridge.name) up"])
        done.append("set bridge \(bridge.name) up again")
      }
    }
    for lease in state.addresses where lease.link != nil { attempt { try $0.plug(lease, network) } }
  }

  private mutating func plug(_ lease: AllocatedAddress, _ network: IPRoute) throws {
    guard let name = lease.link, let namespace = lease.name, let bridge = state.bridge(lease.bridge) else {
      return
    }
    if let link = try network.link(name) {
      guard link.master != bridge.name || link.linkinfo?.info_slave_data?.hairpin != true || !link.isUp else {
        return
      }
      try network.batch(LinkCommands.port(name, bridge.name))
      done.append("plugged \(name) into \(bridge.name) again")
      return
    }
    guard access("/run/netns/\(namespace)", F_OK) == 0 else { throw NetworkError.noSuchNamespace(namespace) }
    let interface = try network.freeInterface(inNamespace: namespace)
    let withRoute = try !network.hasDefaultRoute(inNamespace: namespace)
    try network.batch(
      LinkCommands.pair(
        name,
        bridge.name,
        to: interface,
        inNamespace: namespace,
        alias: workspace.alias(for: .init(address: lease.ip, name: namespace))
      )
    )
    try network.batch(
      LinkCommands.guest(interface, lease.ip, on: bridge.subnet, withRoute: withRoute),
      inNamespace: namespace
    )
    done.append("plugged \(namespace) into \(bridge.name) again")
  }

  // MARK: rules

  private mutating func restoreRules() throws {
    // Asked first: the lock over a namespace's rules is in root's folder.
    guard NetAdmin.isHeld else { return }
    let firewall = try workspace.firewall()
    guard !state.chains.isEmpty || firewall.isInstalled else { return }
    let backend = try firewall.backend()
    if let recorded = state.firewallBackend, recorded != backend, !state.chains.isEmpty {
      try workspace.firewall(of: recorded).0.remove(RuleChange(chains: state.chains, rules: state.rules))
      workspace.state.firewallBackend = backend
      try workspace.save(mayUseSpare: true)
      done.append("moved the rules from iptables (\(recorded)) to iptables (\(backend))")
    }
    let inspection = Inspection(workspace: workspace)
    var isChanged = false
    for family in IPAddress.Family.allCases where firewall.serves(family) {
      let (comparison, _) = try inspection.comparison(family, firewall)
      let problems = comparison.problems
      guard !problems.isEmpty else { continue }
      try firewall.restore(family, comparison.repairText)
      done += problems.map { "mended \($0.subject): \($0.problem)" }
      isChanged = true
    }
    if isChanged {
      try Teardown(workspace: workspace).forget(state.mappings.filter { !$0.rules.isEmpty }.map(\.flows))
    }
  }

  private mutating func enableForwarding() throws {
    var families = Set(state.mappings.filter(\.nat).map(\.backendIP.family))
    if state.bridges.contains(where: \.isOwn) { families.insert(.v4) }
    for family in families { done += try Forwarding.enable(family).map { "turned on \($0)" } }
  }
}
