/// Where portmap's rules stand: the names of its chains, what leads into each, and who a rule belongs to.
///
///     nat     PREROUTING, OUTPUT  -> PORTMAP     -> PORTMAP-TCP    -> PORTMAP-TCP-31     DNAT, one rule a mapping
///     nat     POSTROUTING         -> PORTMAP-POST                                        masquerade, shared
///     filter  FORWARD             -> PORTMAP-FWD                                         accept, shared by backend
///     filter  INPUT               -> PORTMAP-IN  -> PORTMAP-IN-TCP -> PORTMAP-IN-TCP-31  accept for the proxy
///     raw     PREROUTING          -> PORTMAP-RAW                                         guards portmap's own bridge
///
/// A chain of ports holds those of one protocol in one block of 256 and is reached by goto, so that a packet meets
/// few rules however many mappings there are. A range that straddles blocks stands in the protocol's chain, before
/// that dispatch: after a goto a packet does not come back.
///
/// The chains carry the state's tag behind PORTMAP, `PORTMAP-3fa9c1-TCP`, and so do the comments of their rules:
/// several states in one network namespace do not touch each other's.
struct ChainLayout: Equatable, Sendable {
  /// Six hexadecimal digits, or nothing for a state that the first version began in root's default folder.
  let tag: String

  private var stem: String { tag.isEmpty ? "PORTMAP" : "PORTMAP-\(tag)" }

  /// The chains that are reached from a built-in one.
  enum Trunk: String, CaseIterable {
    case dnat = ""
    case post = "-POST"
    case forward = "-FWD"
    case input = "-IN"
    case raw = "-RAW"

    var table: Rule.Table {
      switch self {
      case .dnat, .post: .nat
      case .forward, .input: .filter
      case .raw: .raw
      }
    }
  }

  func place(_ trunk: Trunk, _ family: IPAddress.Family) -> ChainPlace {
    ChainPlace(family: family, table: trunk.table, name: stem + trunk.rawValue)
  }

  /// The chain for rules about these ports, and where in it they go.
  func place(
    _ trunk: Trunk,
    _ family: IPAddress.Family,
    _ transport: Transport,
    _ ports: PortRange
  ) -> (place: ChainPlace, position: Rule.Position) {
    let chain = "\(stem)\(trunk.rawValue)-\(transport.rawValue.uppercased())"
    let block = ports.first >> 8
    let straddles = block != ports.last >> 8
    let name = straddles ? chain : "\(chain)-\(block)"
    return (ChainPlace(family: family, table: trunk.table, name: name), straddles ? .first : .last)
  }

  /// The comment of a rule, as a match: whose folder it is, and what it belongs to there.
  func comment(_ subject: String) -> String {
    "-m comment --comment \"\(commentPrefix)\(subject)\""
  }

  /// What the comments of this folder's rules begin with.
  var commentPrefix: String { tag.isEmpty ? "portmap:" : "portmap-\(tag):" }

  /// Whether a chain of this name is this folder's.
  func owns(chain name: String) -> Bool {
    guard name == stem || name.hasPrefix(stem + "-") else { return false }
    let next = name.dropFirst(stem.count + 1).prefix { $0 != "-" }
    return !tag.isEmpty || !ChainLayout.isTag(next)
  }

  private static func isTag(_ text: Substring) -> Bool {
    text.utf8.count == 6 && text.allSatisfy { $0.isNumber || ("a"..."f").contains($0) }
  }

  /// The chain at a place that one of the functions above gave out.
  func chain(at place: ChainPlace) -> Chain {
    let family = place.family
    for trunk in Trunk.allCases where self.place(trunk, family) == place {
      return self.trunk(trunk, place)
    }
    let words = place.name.dropFirst(stem.count + 1).split(separator: "-")
    let trunk = words.first == "IN" ? Trunk.input : .dnat
    let rest = trunk == .input ? words.dropFirst() : words[...]
    let transport = (rest.first ?? "").lowercased()
    if let block = rest.dropFirst().first.flatMap({ UInt16($0) }) {
      let parent = place.name.dropLast("-\(block)".count)
      let ports = "\(UInt32(block) << 8):\(UInt32(block) << 8 | 255)"
      let match = "-p \(transport) -m \(transport) --dport \(ports) \(comment("chain")) -g \(place.name)"
      return Chain(place, entries: [Rule(family, place.table, .last, String(parent), match)])
    }
    let match = "-p \(transport) \(comment("chain")) -j \(place.name)"
    return Chain(place, entries: [Rule(family, place.table, .last, self.place(trunk, family).name, match)])
  }

  private func trunk(_ trunk: Trunk, _ place: ChainPlace) -> Chain {
    let family = place.family
    let loopback = family == .v4 ? "127.0.0.0/8" : "::1/128"
    let local = "! -d \(loopback) -m addrtype --dst-type LOCAL"
    func entry(_ hook: String, _ match: String = "") -> Rule {
      let words = [match, comment("chain"), "-j \(place.name)"].filter { !$0.isEmpty }
      return Rule(family, place.table, .first, hook, words.joined(separator: " "))
    }
    func head(_ match: String, _ action: String = "ACCEPT") -> Rule {
      Rule(family, place.table, .last, place.name, "\(match) \(comment("chain")) -j \(action)")
    }
    let replies = head("-m conntrack --ctstate DNAT -m conntrack --ctstate RELATED,ESTABLISHED")
    switch trunk {
    // What comes from a loopback address cannot leave the host: it is the proxy's.
    case .dnat:
      return Chain(
        place,
        entries: [entry("PREROUTING", local), entry("OUTPUT", "! -s \(loopback) \(local)")]
      )
    case .post: return Chain(place, entries: [entry("POSTROUTING")])
    case .forward: return Chain(place, entries: [entry("FORWARD")], head: [replies])
    // What the host sends itself on loopback reaches the proxy even where a firewall forgot about `lo`.
    case .input:
      return Chain(place, entries: [entry("INPUT")], head: [replies, head("-d \(loopback) -i lo")])
    // What the host sends to its own address on a bridge comes in by `lo`.
    case .raw: return Chain(place, entries: [entry("PREROUTING")], head: [head("-i lo", "RETURN")])
    }
  }
}
