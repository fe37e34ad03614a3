extension Plan {
  /// Plans the release of what a selection names, with all that only this needed.
  ///
  /// - Parameter everything: Whether portmap's own bridges go too.
  static func releasing(_ selection: Selection, everything: Bool = false, from before: State) -> Plan {
    var plan = Plan(before)
    plan.next.mappings.removeAll { selection.mappings.contains($0.id) }
    plan.next.reservations.removeAll { selection.reservations.contains($0.id) }
    plan.release(selection, everything: everything)
    return plan
  }

  /// Plans the end of all that only those records needed that a selection names and the next state has no more.
  mutating func release(_ selection: Selection, everything: Bool = false) {
    let gone = before.mappings.filter { selection.mappings.contains($0.id) }
    let reservations = before.reservations.filter { selection.reservations.contains($0.id) }
    releaseAddresses(selection.addresses)
    next.dropUnusedAttachments()
    let bridges = everything ? releaseBridges() : []
    let shared = releaseShared()
    releaseRules(bridges.flatMap(\.rules) + shared.flatMap(\.rules) + gone.flatMap(\.rules))
    removal.flows = gone.filter { !$0.rules.isEmpty }.map(\.flows)
    removal.connections = gone.compactMap(\.mapping.connectRoute?.ports)
    endUnused(Set(before.holders.map(\.id)))
    let holdings =
      gone.map { HoldingReference(holder: $0.holder, id: $0.id) }
      + reservations.map { HoldingReference(holder: $0.holder, id: $0.id) }
    removal.holdings = (removal.holdings + holdings).filter {
      !$0.holder.isEmpty && !removal.holders.contains($0.holder)
    }
  }

  /// Releases addresses that are named, and those that lived for mappings that are gone.
  private mutating func releaseAddresses(_ named: Set<IPAddress>) {
    let gone = next.addresses.filter { address in
      named.contains(address.ip)
        || (address.isImplicit && !next.mappings.contains { $0.backendIP == address.ip })
    }
    next.addresses.removeAll { gone.contains($0) }
    for address in gone {
      if let index = next.bridges.firstIndex(where: { $0.name == address.bridge }) {
        next.bridges[index].freed.append(address.ip)
      }
    }
    removal.links += gone.compactMap(\.link)
  }

  private mutating func releaseBridges() -> [BridgeRecord] {
    let gone = next.bridges
    next.bridges = []
    removal.links += gone.filter(\.isOwn).map(\.name)
    return gone
  }

  private mutating func releaseShared() -> [SharedRules] {
    let needed = Set(next.mappings.flatMap(\.sharedPurposes))
    let gone = next.shared.filter { !needed.contains($0.purpose) }
    next.shared.removeAll { !needed.contains($0.purpose) }
    return gone
  }

  private mutating func releaseRules(_ rules: [Rule]) {
    removal.change = RuleChange.removing(rules, from: next.chains, remaining: next.rules)
    guard !removal.change.isEmpty else { return }
    removal.firewallVariant = before.firewallVariant
    let gone = Set(removal.change.chains.map(\.place))
    next.chains.removeAll { gone.contains($0.place) }
    if next.chains.isEmpty { next.firewallVariant = nil }
  }
}

extension Removal {
  /// What is left of it where nothing that a state has is taken away: things may have been made again since.
  func sparing(_ state: State) -> Removal {
    var removal = self
    let places = Set(state.chains.map(\.place))
    let rules = Set(state.rules)
    removal.change.chains.removeAll { places.contains($0.place) }
    removal.change.rules.removeAll { rules.contains($0) }
    let links = Set(state.bridges.map(\.name) + state.addresses.compactMap(\.link))
    removal.links.removeAll { links.contains($0) }
    removal.holders.removeAll { state.holder($0) != nil }
    return removal
  }
}
