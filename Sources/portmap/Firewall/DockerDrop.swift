extension SavedRules {
  /// The place in FORWARD, counted from 1 as iptables does, of the first rule that leads to docker's drop of all that it has
  /// not published; nil where there is none.
  ///
  /// From version 28 on docker's chain DOCKER ends with it for each network (defaultDrop in moby's bridge driver), and
  /// the jumps to it are put before those of others when docker starts and when a network is made. What an
  /// administrator has in DOCKER-USER is left first.
  var dockerDrop: Int? {
    guard rules(.filter, "DOCKER")?.contains(where: { Self.action(of: $0) == "DROP" }) ?? false else {
      return nil
    }
    return rules(.filter, "FORWARD")?.firstIndex { leadsToDocker($0, []) }.map { $0 + 1 }
  }

  /// The place of a rule in its chain, counted from 1; nil where it is not there.
  func position(of rule: Rule) -> Int? {
    let words = Self.words(rule.match[...])
    return rules(rule.table, rule.chain)?.firstIndex(of: words).map { $0 + 1 }
  }

  /// - Parameter seen: The chains that were gone through.
  private func leadsToDocker(_ words: [String], _ seen: Set<String>) -> Bool {
    guard let chain = Self.action(of: words), chain.hasPrefix("DOCKER"), !seen.contains(chain) else {
      return false
    }
    if chain == "DOCKER" { return true }
    return rules(.filter, chain)?.contains { leadsToDocker($0, seen.union([chain])) } ?? false
  }

  private static func action(of words: [String]) -> String? {
    words.firstIndex { $0 == "-j" || $0 == "-g" }.flatMap {
      words.indices.contains($0 + 1) ? words[$0 + 1] : nil
    }
  }
}
