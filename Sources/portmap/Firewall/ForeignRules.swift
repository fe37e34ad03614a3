/// A rule of somebody else's that takes a mapping's packets before portmap's rules see them.
struct ForeignRule: Equatable, Sendable {
  let mapping: Mapping
  /// The chain that it stands in, of the nat table.
  let chain: String
  /// The rule as iptables-save prints it, without its chain.
  let text: String

  var subject: String { "\(mapping)" }
  var problem: String { "a rule of somebody else's comes first: \(chain): \(text)" }
}

/// A search for rules of others that get at a mapping's packets before portmap's do.
///
/// It understands protocol, destination address, --dport and multiport's --dports, chains within chains, and the
/// actions DNAT, REDIRECT, ACCEPT and RETURN. A rule with any other condition is taken to apply: it may.
struct ForeignRules {
  let saved: SavedRules
  let layout: ChainLayout

  /// Finds the rules of a built-in chain of the nat table that stand before the jump to `chain` and take a mapping's
  /// port.
  func taking(_ mapping: Mapping, hook: String, before chain: String) -> [ForeignRule] {
    var seen: Set<String> = []
    return taking(mapping, chain: hook, until: chain, &seen)
  }

  /// - Parameter seen: The chains that were gone through. Many jumps may lead to one chain, and what is read need not
  ///   come from the kernel, which has no loops.
  private func taking(_ mapping: Mapping, chain: String, until stop: String, _ seen: inout Set<String>)
    -> [ForeignRule]
  {
    let isHook = seen.isEmpty
    guard seen.insert(chain).inserted, let rules = saved.rules(.nat, chain) else { return [] }
    var found: [ForeignRule] = []
    for words in rules {
      let rule = ForeignRule(mapping: mapping, chain: chain, text: SavedRules.text(words))
      let action = value(of: ["-j", "-g"], in: words) ?? ""
      if action == stop { break }
      guard applies(words, to: mapping) else { continue }
      switch action {
      case "DNAT", "REDIRECT", "ACCEPT": found.append(rule)
      case "RETURN": if isHook { found.append(rule) }
      default:
        if !layout.owns(chain: action) { found += taking(mapping, chain: action, until: stop, &seen) }
      }
    }
    return found
  }

  /// Tells whether packets to the mapping's ports can match the conditions of a rule; one that names no port is not meant.
  private func applies(_ words: [String], to mapping: Mapping) -> Bool {
    if let transport = value(of: ["-p"], in: words), transport != mapping.transport.rawValue,
      transport != "all"
    {
      return isNegated("-p", in: words)
    }
    if let destination = value(of: ["-d"], in: words), !isNegated("-d", in: words),
      let subnet = Subnet(destination), let host = mapping.hostIP.address, !host.isUnspecified,
      !subnet.contains(host)
    {
      return false
    }
    guard let option = ["--dport", "--dports", "--ports"].first(where: { words.contains($0) }),
      let ports = value(of: [option], in: words)
    else { return !["ACCEPT", "RETURN"].contains(value(of: ["-j"], in: words) ?? "") }
    let overlaps = ports.split(separator: ",").contains { part in
      PortRange(Substring(part.map { $0 == ":" ? "-" : String($0) }.joined()))?.overlaps(mapping.hostPorts)
        ?? true
    }
    return overlaps != isNegated(option, in: words)
  }

  private func value(of options: [String], in words: [String]) -> String? {
    guard let index = words.firstIndex(where: { options.contains($0) }), index + 1 < words.count else {
      return nil
    }
    return words[index + 1]
  }

  private func isNegated(_ option: String, in words: [String]) -> Bool {
    words.firstIndex(of: option).map { $0 > 0 && words[$0 - 1] == "!" } ?? false
  }
}
