// Differences, and what was done about them, in words.

extension Difference: CustomStringConvertible {
  var description: String { "\(subject): \(problem)" }

  /// What it is about: the ports that are affected where there are any.
  var subject: String {
    switch self {
    case .commandDied: "state"
    case .removalUnfinished(let mapping): "\(mapping)"
    case .foreignRule(let rule): rule.subject
    case .removalWaits: "removal"
    case .processDead(let record, let holdings), .processSilent(let record, let holdings):
      holdings.isEmpty ? "background process \(record.process.pid)" : Self.list(holdings)
    case .portTaken(let holding, let port, _):
      "\(holding.hostIP.prefix)\(port)\(holding.transport.suffix)"
    case .notHeld(let holding, _), .socketAltered(let holding, _, _): "\(holding)"
    case .heldInExcess(_, let record): "background process \(record.process.pid)"
    case .processUnknown(let id): "background process (\(id))"
    case .namespaceReplaced(let holdings, _, _), .namespaceGone(let holdings, _): Self.list(holdings)
    case .declarationFailed(let failure): "\(failure.origin)"
    case .bridgeMissing(let bridge), .bridgeAddressMissing(let bridge), .bridgeDown(let bridge):
      "bridge \(bridge.name)"
    case .guestLinkMissing(let address), .guestUnplugged(let address), .guestLinkDown(let address),
      .guestHairpinOff(let address), .guestReplaced(let address):
      "address \(address.ip) (\(address.name ?? address.link ?? ""))"
    case .linkUnknown(let link): "link \(link)"
    case .forwardingOff(let family): Forwarding.name(family)
    case .firewallVariant: "iptables"
    case .rules(let difference): difference.subject
    case .nativeChain(let drop): drop.subject
    case .connectProgramLost(let mappings): Self.list(mappings.map(\.target))
    case .connectionsLost(let mapping): mapping.target
    case .connectionsUnknown(let ports): Self.list(ports)
    case .hairpinOff(let backend, _): "\(backend)"
    case .backend(let fault): fault.subject
    }
  }

  /// What is different.
  var problem: String {
    switch self {
    case .commandDied: "a command died before it was done"
    case .removalUnfinished: "its removal was not finished"
    case .removalWaits(let removal): "what an earlier command made is still to be removed: \(removal.words)"
    case .processDead(let record, _): "the background process \(record.process.pid) is dead"
    case .processSilent(let record, _): "the background process \(record.process.pid) does not answer"
    case .portTaken(_, _, let owner): "\(owner) has taken it"
    case .notHeld(_, let record): "the background process \(record.process.pid) does not hold it"
    case .heldInExcess(let holdings, _):
      "it holds \(Self.list(holdings)), which is neither mapped nor reserved"
    case .socketAltered(_, _, .answering): "it is reserved, but connections to it are answered"
    case .socketAltered(_, _, .listening): "it is lent, but its server cannot listen on it"
    case .socketAltered(_, _, .notListening): "it is reserved, but others could listen on it"
    case .processUnknown: "it holds nothing that is mapped or reserved"
    case .namespaceReplaced(_, _, let guest):
      "\(guest.name) is another network namespace now than the one that it leads into"
    case .namespaceGone(_, let error): "\(error.reason), into which it leads"
    case .declarationFailed(let failure): failure.problem
    case .bridgeMissing: "it is gone"
    case .bridgeAddressMissing(let bridge): "its address \(bridge.subnet) is gone"
    case .bridgeDown: "it is down"
    case .guestLinkMissing(let address): "its link \(address.link ?? "") is gone"
    case .guestReplaced(let address):
      "\(address.name ?? "") is another network namespace now than the one that its link \(address.link ?? "") leads into"
    case .guestUnplugged(let address): "its link \(address.link ?? "") is not plugged into \(address.bridge)"
    case .guestLinkDown(let address): "its link \(address.link ?? "") is down"
    case .guestHairpinOff(let address): "its link \(address.link ?? "") has lost its hairpin mode"
    case .linkUnknown: "it belongs to no address or bridge"
    case .forwardingOff: "it is off, so nothing is forwarded to backends"
    case .firewallVariant(let recorded, let now): "it is (\(now)), but the rules were made with (\(recorded))"
    case .rules(let difference): difference.problem
    case .nativeChain(let drop): drop.problem
    case .connectProgramLost: "the program that leads loopback connections to backends is not attached"
    case .connectionsLost: "connections to loopback are not led to its backend as they connect"
    case .connectionsUnknown: "connections are led away as they connect, though nothing is mapped there"
    case .foreignRule(let rule): rule.problem
    case .hairpinOff(_, let port):
      "it cannot reach its own mapped ports: \(port) has no hairpin mode"
        + " (ip link set \(port) type bridge_slave hairpin on)"
    case .backend(let fault): fault.problem
    }
  }

  private static func list(_ holdings: [some CustomStringConvertible]) -> String {
    let names = holdings.prefix(5).map(\.description)
    let rest = holdings.count - names.count
    return names.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }
}

extension Difference {
  /// Whether it is about anything that a selection names.
  func concerns(_ selection: Selection, in state: State) -> Bool {
    func names(_ holding: Holding) -> Bool {
      selection.mappings.contains(holding.id) || selection.reservations.contains(holding.id)
    }
    switch self {
    case .removalUnfinished(let mapping): return selection.mappings.contains(mapping.id)
    case .foreignRule(let rule): return selection.mappings.contains(rule.mapping.id)
    case .processDead(_, let holdings), .processSilent(_, let holdings),
      .namespaceReplaced(let holdings, _, _), .namespaceGone(let holdings, _):
      return holdings.contains(where: names)
    case .portTaken(let holding, _, _), .notHeld(let holding, _), .socketAltered(let holding, _, _):
      return names(holding)
    case .bridgeMissing(let bridge), .bridgeAddressMissing(let bridge), .bridgeDown(let bridge):
      return state.addresses.contains { $0.bridge == bridge.name && selection.addresses.contains($0.ip) }
    case .guestLinkMissing(let address), .guestUnplugged(let address), .guestLinkDown(let address),
      .guestHairpinOff(let address), .guestReplaced(let address):
      return selection.addresses.contains(address.ip)
    case .forwardingOff(let family):
      return state.mappings.contains {
        selection.mappings.contains($0.id) && $0.mapping.delivery.nat && $0.backendIP.family == family
      }
    case .hairpinOff(let backend, _):
      return state.mappings.contains { selection.mappings.contains($0.id) && $0.backendIP == backend }
    case .backend(let fault): return fault.concerns(selection, in: state)
    case .connectionsLost(let mapping): return selection.mappings.contains(mapping.id)
    case .connectProgramLost(let mappings):
      return mappings.contains { selection.mappings.contains($0.id) }
    case .connectionsUnknown: return false
    case .commandDied, .firewallVariant, .rules, .nativeChain: return !selection.mappings.isEmpty
    case .removalWaits, .heldInExcess, .processUnknown, .linkUnknown, .declarationFailed: return false
    }
  }
}

extension Removal {
  /// What is to be removed, in words.
  fileprivate var words: String {
    var parts: [String] = []
    func add(_ count: Int, _ one: String, _ many: String) {
      if count > 0 { parts.append("\(count) \(count == 1 ? one : many)") }
    }
    add(change.rules.count + change.chains.reduce(0) { $0 + $1.entries.count }, "rule", "rules")
    add(change.chains.count, "chain", "chains")
    add(links.count, "link", "links")
    add(holders.count, "background process", "background processes")
    add(holdings.count, "held port", "held ports")
    add(restored.count, "reservation to put back", "reservations to put back")
    add(connections.count, "loopback port", "loopback ports")
    if parts.isEmpty, !flows.isEmpty { parts = ["old flows"] }
    return parts.joined(separator: ", ")
  }
}

extension Mended: CustomStringConvertible {
  var description: String {
    switch self {
    case .salvaged(let path, let problem, let copy): "\(path): \(problem); kept it as \(copy)"
    case .rebuilt(let count):
      "took \(count) mappings and reservations from the background processes, addresses from the links"
    case .removed(let mapping): "finished the removal of \(mapping)"
    case .ended(let id): "ended a background process that held nothing mapped or reserved (\(id))"
    case .deletedLink(let link): "deleted the link \(link), which belonged to no address or bridge"
    case .letGo(let record):
      "background process \(record.process.pid) let go of what was neither mapped nor reserved"
    case .held(let holding): "held \(holding) again"
    case .entered(let holding, let name): "led \(holding) into \(name) anew"
    case .restoredSocket(let holding): "put \(holding) back to how it was reserved"
    case .madeBridge(let name): "made bridge \(name) again"
    case .gaveAddress(let bridge): "gave bridge \(bridge) its address again"
    case .setUp(let bridge): "set bridge \(bridge) up again"
    case .pluggedIn(let name, let bridge), .pluggedInNamespace(let name, let bridge):
      "plugged \(name) into \(bridge) again"
    case .movedRules(let from, let to): "moved the rules from iptables (\(from)) to iptables (\(to))"
    case .mended(let difference): "mended \(difference)"
    case .turnedOn(let name): "turned on \(name)"
    }
  }
}

extension DeclarationMistake.Problem: CustomStringConvertible {
  var description: String {
    switch self {
    case .samePort(let named, let other):
      "\(named.hostIP.prefix)\(named.ports)\(named.transport.suffix) is declared at \(other) already"
    case .sameName(let name, let other): "the name '\(name)' is declared at \(other) already"
    case .namedBelow(let name, let origin):
      "'\(name)' is declared at \(origin): a name must be declared above its use"
    }
  }
}

extension Notice: CustomStringConvertible {
  var description: String {
    func words(_ error: any Error, _ task: String) -> String { Failure(error, doing: task).message }
    switch self {
    case .waiting(let text): return text
    case .turnedOn(let name): return "turned on \(name)"
    case .noIPv6Rules:
      return "warning: no rules for IPv6 here (no ip6tables, or no IPv6): mappings are for IPv4"
    case .rulesPutBack(let count):
      return
        "put back what the firewall had lost of portmap's rules (\(count) difference\(count == 1 ? "" : "s"))"
    case .otherVariant(let variant):
      return "iptables is another now: rules made with iptables (\(variant)) are removed with that"
    case .severalAddresses(let bridge, let counted):
      return "warning: bridge \(bridge) has several IPv4 addresses; \(counted) counts"
    case .defaultRouteKept(let namespace):
      return "warning: \(namespace) has a default route already, which is left as it is"
    case .withinRoute(let subnet, let route):
      return "warning: \(subnet.networkDescription) overlaps the route to \(route.networkDescription):"
        + " what that leads to is not reached any more"
    case .flowsNotDeleted(let error):
      return "warning: \(words(error, "delete tracked connections")); they go on as they did"
    case .notUndone(let error):
      return "warning: \(words(error, "undo everything")); the next command tries again"
    case .notRecorded(let error): return "warning: \(words(error, "record that"))"
    case .removalWaits(let error):
      return "warning: \(words(error, "remove what an earlier command made")); portmap repair tries again"
    case .notMended(let error):
      return "warning: \(words(error, "mend everything")); portmap repair tries again"
    case .mended(let mended): return "\(mended)"
    case .notConnected(let error):
      return "the proxy serves loopback: \(error)"
    case .addressKept(let address, let mapping):
      return "\(address.title) stays: \(mapping) leads there, which another file or a person has made"
    case .notReleased(let error):
      return "warning: \(words(error, "release what a command that is gone had")); portmap repair tries again"
    }
  }
}
