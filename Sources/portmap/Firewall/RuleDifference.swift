/// A difference between the rules that are there and those that should be.
struct RuleDifference: Equatable, Sendable {
  enum Kind: Equatable, Sendable {
    case chainMissing
    case ruleMissing(String)
    case ruleDuplicated(String)
    /// A rule in a chain of this folder's, or with a comment of this folder's in somebody else's, that is not recorded.
    case ruleSurplus(String)
    /// The rules are the right ones, and one stands before another that should come first.
    case wrongOrder
    case jumpMissing(to: String)
    case jumpDuplicated(to: String)
    /// docker drops first what is not published.
    case jumpBehindDocker(to: String)
    /// A chain with a name of this folder's that is not recorded.
    case chainSurplus
  }

  /// The chain that it is about or in.
  let place: ChainPlace
  let kind: Kind
}

extension RuleDifference: CustomStringConvertible {
  var subject: String { "\(place)" }

  var problem: String {
    switch kind {
    case .chainMissing: "the chain is missing"
    case .ruleMissing(let rule): "the rule '\(rule)' is missing"
    case .ruleDuplicated(let rule): "the rule '\(rule)' is there more than once"
    case .ruleSurplus(let rule): "the rule '\(rule)' belongs to no mapping"
    case .wrongOrder: "the rules are not in their order"
    case .jumpMissing(let chain): "the jump to \(chain) is missing"
    case .jumpDuplicated(let chain): "the jump to \(chain) is there more than once"
    case .jumpBehindDocker(let chain):
      "the jump to \(chain) stands behind docker's, which drops what is not published"
    case .chainSurplus: "the chain belongs to no mapping"
    }
  }

  var description: String { "\(subject): \(problem)" }
}

extension ChainPlace: CustomStringConvertible {
  /// `ip6tables filter PORTMAP-IN`
  var description: String { "\(family == .v4 ? "iptables" : "ip6tables") \(table.rawValue) \(name)" }
}
