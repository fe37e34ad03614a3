/// A search for rules of others that drop what DNAT has led on, in FORWARD before portmap's chain accepts it.
///
/// A rule counts that drops all that is forwarded, or names the backend, its port or its interface, and has no other
/// condition: one about sources or marks is meant for some and not for all.
struct ForwardDrops {
  let saved: SavedRules
  let layout: ChainLayout

  /// Finds the rules that drop a mapping's packets on their way to the backend.
  ///
  /// - Parameter link: The interface towards the backend, where it is known.
  func dropping(_ mapping: Mapping, link: String?) -> [ForeignRule] {
    var seen: Set<String> = []
    let stop = layout.place(.forward, mapping.backendIP.family).name
    return dropping(mapping, link, chain: "FORWARD", until: stop, &seen)
  }

  /// - Parameter seen: The chains that were gone through: many jumps may lead to one.
  private func dropping(
    _ mapping: Mapping,
    _ link: String?,
    chain: String,
    until stop: String,
    _ seen: inout Set<String>
  ) -> [ForeignRule] {
    guard seen.insert(chain).inserted, let rules = saved.rules(.filter, chain) else { return [] }
    for words in rules {
      guard let condition = ForwardCondition(words) else { continue }
      if condition.action == stop { return [] }
      guard condition.applies(to: mapping, link) else { continue }
      switch condition.action {
      case "DROP", "REJECT":
        return [ForeignRule(mapping: mapping, chain: chain, text: SavedRules.text(words))]
      case "ACCEPT", "RETURN": return []
      default:
        let found = dropping(mapping, link, chain: condition.action, until: stop, &seen)
        if !found.isEmpty { return found }
      }
    }
    return []
  }
}

/// The conditions of a rule, where they are about destinations alone.
private struct ForwardCondition {
  private(set) var action = ""
  private var transport: String?
  private var destination: Subnet?
  private var ports: [PortRange]?
  private var outgoing: String?
  private var isForNew = true

  /// Nil for a rule with any other condition, or a negated one.
  init?(_ words: [String]) {
    var rest = words[...]
    while let word = rest.popFirst() {
      guard let value = rest.popFirst() else { return nil }
      switch word {
      case "-j", "-g":
        action = value
        // What follows belongs to the action.
        return
      case "-p": transport = value == "all" ? nil : value
      case "-d":
        guard let subnet = Subnet(value) else { return nil }
        destination = subnet
      case "-o": outgoing = value
      case "--dport", "--dports":
        ports = value.split(separator: ",").compactMap {
          PortRange(Substring($0.map { $0 == ":" ? "-" : String($0) }.joined()))
        }
      case "-m":
        guard ["tcp", "udp", "sctp", "comment", "multiport", "conntrack"].contains(value) else { return nil }
      case "--comment": break
      case "--ctstate": isForNew = value.split(separator: ",").contains("NEW")
      default: return nil
      }
    }
    return nil
  }

  func applies(to mapping: Mapping, _ link: String?) -> Bool {
    (transport.map { $0 == mapping.transport.rawValue } ?? true) && isForNew
      && (destination?.contains(mapping.backendIP) ?? true) && (outgoing.map { $0 == link } ?? true)
      && (ports?.contains { $0.overlaps(mapping.backendPorts) } ?? true)
  }
}
