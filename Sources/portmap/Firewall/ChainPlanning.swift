/// Finds out which chains come and go with rules.
extension RuleChange {
  /// Returns what has to be added so that `rules` stand, given the chains that are there already.
  static func adding(_ rules: [Rule], to chains: [Chain], _ layout: ChainLayout, serial: Int) -> RuleChange {
    var known = Set(chains.map(\.place))
    var change = RuleChange(rules: rules)
    func need(_ place: ChainPlace) {
      guard layout.owns(chain: place.name), known.insert(place).inserted else { return }
      var chain = layout.chain(at: place)
      chain.serial = serial
      for entry in chain.entries { need(entry.place) }
      change.chains.append(chain)
    }
    for place in Set(rules.map(\.place)) { need(place) }
    change.chains.sort { ($0.name.utf8.count, $0.name) < ($1.name.utf8.count, $1.name) }
    return change
  }

  /// Returns what goes when `rules` go: also the chains in which none of the `remaining` rules stands.
  static func removing(_ rules: [Rule], from chains: [Chain], remaining: [Rule]) -> RuleChange {
    var change = RuleChange(rules: rules)
    var left = Dictionary(chains.map { ($0.place, $0) }) { first, _ in first }
    var candidates = Set(rules.map(\.place))
    while let place = candidates.popFirst() {
      let prefixes = place.prefixes
      guard let chain = left[place], !remaining.contains(where: { $0.begins(with: prefixes) }) else {
        continue
      }
      guard !left.values.contains(where: { $0.entries.contains { $0.place == place } }) else { continue }
      left[place] = nil
      change.chains.append(chain)
      candidates.formUnion(chain.entries.map(\.place))
    }
    change.chains.sort { ($0.name.utf8.count, $0.name) < ($1.name.utf8.count, $1.name) }
    return change
  }
}
