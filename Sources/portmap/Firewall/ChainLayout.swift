/// The layout of portmap's chains: their names, the jumps that lead into each, and whose a rule is.
///
///     nat     PREROUTING, OUTPUT -> PORTMAP      -> PORTMAP-TCP     -> PORTMAP-TCP-31      DNAT, one rule a mapping
///     nat     POSTROUTING        -> PORTMAP-POST                                           masquerade, shared
///     filter  FORWARD            -> PORTMAP-FWD  -> PORTMAP-TO      -> PORTMAP-BACKEND-02  accept, one rule a backend
///                                                -> PORTMAP-FROM    -> PORTMAP-BACKEND-02
///     filter  INPUT              -> PORTMAP-IN   -> PORTMAP-FROM
///                                                -> PORTMAP-IN-TCP  -> PORTMAP-IN-TCP-31   accept for the proxy
///     raw     PREROUTING         -> PORTMAP-RAW                                            guards portmap's own bridge
///
/// A chain of ports holds those of one protocol in one block of 256 and is reached by goto, so that a packet meets
/// few rules however many mappings there are. A range that straddles blocks stands in the protocol's chain, before
/// that dispatch: after a goto a packet does not come back.
///
/// A connection that a DNAT rule has changed is accepted if it leads to a backend of ours; the bans that other tools
/// make for all other connections stay in force. A chain of backends holds those whose addresses have the same last
/// six bits, so that a packet meets few rules however many backends there are: PORTMAP-TO finds the chain by the
/// destination of a packet on its way to a backend, PORTMAP-FROM by the source of one that comes from there.
///
/// The chains carry the state's tag behind PORTMAP, `PORTMAP-3fa9c1-TCP`, and so do the comments of their rules:
/// several states in one network namespace do not touch each other's.
struct ChainLayout: Equatable, Sendable {
  /// Six hexadecimal digits, or nothing for a state that the first version began in root's default folder.
  let tag: String

  private var stem: String { tag.isEmpty ? "PORTMAP" : "PORTMAP-\(tag)" }

  /// A chain that a built-in one jumps to.
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

  /// The way of a packet of a connection to a backend.
  private enum Way: String, CaseIterable {
    case to = "-TO"
    case from = "-FROM"
  }

  /// Returns the place of the chain that a built-in one jumps to.
  func place(_ trunk: Trunk, _ family: IPAddress.Family) -> ChainPlace {
    ChainPlace(family: family, table: trunk.table, name: stem + trunk.rawValue)
  }

  /// Returns the place of the chain for rules about these ports, and where in it they go.
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

  /// Returns the place of the chain that accepts connections to a backend.
  func place(ofBackend address: IPAddress) -> ChainPlace {
    let bits = String(address.value & Self.backendMask, radix: 16, uppercase: true)
    let name = "\(stem)-BACKEND-\(bits.count == 1 ? "0" : "")\(bits)"
    return ChainPlace(family: address.family, table: .filter, name: name)
  }

  /// The bits of an address that tell its chain: 64 chains at most, and of the 254 backends of a /24 four in each.
  private static let backendMask: UInt128 = 0x3F

  private func place(_ way: Way, _ family: IPAddress.Family) -> ChainPlace {
    ChainPlace(family: family, table: .filter, name: stem + way.rawValue)
  }

  /// Returns the comment of a rule, as a match: whose folder it is, and what it belongs to there.
  func comment(_ subject: String) -> String {
    "-m comment --comment \"\(commentPrefix)\(subject)\""
  }

  /// The beginning of the comments of this folder's rules.
  var commentPrefix: String { tag.isEmpty ? "portmap:" : "portmap-\(tag):" }

  /// Tells whether a chain of this name is this folder's.
  func owns(chain name: String) -> Bool {
    guard name == stem || name.hasPrefix(stem + "-") else { return false }
    let next = name.dropFirst(stem.count + 1).prefix { $0 != "-" }
    return !tag.isEmpty || !ChainLayout.isTag(next)
  }

  private static func isTag(_ text: Substring) -> Bool {
    text.utf8.count == 6 && text.allSatisfy { $0.isNumber || ("a"..."f").contains($0) }
  }

  /// Returns the chain at a place that one of the functions above has given.
  func chain(at place: ChainPlace) -> Chain {
    let family = place.family
    for trunk in Trunk.allCases where self.place(trunk, family) == place { return chain(trunk, place) }
    for way in Way.allCases where self.place(way, family) == place { return chain(way, place) }
    let words = place.name.dropFirst(stem.count + 1).split(separator: "-")
    if words.count == 2, words[0] == "BACKEND", let bits = UInt8(words[1], radix: 16) {
      return chain(ofBackends: bits, place)
    }
    let trunk = words.first == "IN" ? Trunk.input : .dnat
    return chain(trunk, ofPorts: trunk == .input ? words.dropFirst() : words[...], place)
  }

  // MARK: chains

  private func chain(_ trunk: Trunk, _ place: ChainPlace) -> Chain {
    let loopback = place.family == .v4 ? "127.0.0.0/8" : "::1/128"
    let local = "! -d \(loopback) -m addrtype --dst-type LOCAL"
    func entry(_ hook: String, _ match: String = "") -> Rule {
      jump(.first, ChainPlace(family: place.family, table: place.table, name: hook), match, "-j", place)
    }
    func head(_ match: String, _ action: String) -> Rule {
      Rule(place.family, place.table, .last, place.name, "\(match) \(comment("chain")) -j \(action)")
    }
    switch trunk {
    // What comes from a loopback address cannot leave the host: it is the proxy's.
    case .dnat:
      return Chain(
        place,
        entries: [entry("PREROUTING", local), entry("OUTPUT", "! -s \(loopback) \(local)")]
      )
    case .post: return Chain(place, entries: [entry("POSTROUTING")])
    case .forward: return Chain(place, entries: [entry("FORWARD")])
    // What the host sends itself on loopback reaches the proxy even where a firewall forgot about `lo`.
    case .input:
      return Chain(place, entries: [entry("INPUT")], head: [head("-d \(loopback) -i lo", "ACCEPT")])
    // What the host sends to its own address on a bridge comes in by `lo`.
    case .raw: return Chain(place, entries: [entry("PREROUTING")], head: [head("-i lo", "RETURN")])
    }
  }

  /// The answers of a backend go through FORWARD, and through INPUT where the host itself has asked.
  private func chain(_ way: Way, _ place: ChainPlace) -> Chain {
    let parents: [Trunk] = way == .to ? [.forward] : [.forward, .input]
    let match = "-m conntrack --ctstate DNAT --ctdir \(way == .to ? "ORIGINAL" : "REPLY")"
    return Chain(
      place,
      entries: parents.map { jump(.last, self.place($0, place.family), match, "-j", place) }
    )
  }

  /// Packets are told by their own addresses, which costs a tenth of a look at the connection. An ICMP error about a
  /// connection to a backend may come from any router on the way: it passes through all of these chains.
  private func chain(ofBackends bits: UInt8, _ place: ChainPlace) -> Chain {
    let (family, to, from) = (place.family, self.place(.to, place.family), self.place(.from, place.family))
    func address(_ value: UInt128) -> String { "\(IPAddress(family: family, value: value))" }
    let block = "\(address(UInt128(bits)))/\(address(Self.backendMask))"
    return Chain(
      place,
      entries: [
        jump(.last, to, "-d \(block)", "-g", place), jump(.first, from, "-s \(block)", "-j", place),
        jump(.last, from, "-p \(family == .v4 ? "icmp" : "ipv6-icmp")", "-j", place),
      ]
    )
  }

  /// - Parameter words: The protocol, and the block of ports unless it is the chain of the whole protocol.
  private func chain(_ trunk: Trunk, ofPorts words: ArraySlice<Substring>, _ place: ChainPlace) -> Chain {
    let transport = (words.first ?? "").lowercased()
    guard let block = words.dropFirst().first.flatMap({ UInt16($0) }) else {
      return Chain(
        place,
        entries: [jump(.last, self.place(trunk, place.family), "-p \(transport)", "-j", place)]
      )
    }
    let name = String(place.name.dropLast("-\(block)".count))
    let parent = ChainPlace(family: place.family, table: place.table, name: name)
    let ports = "\(UInt32(block) << 8):\(UInt32(block) << 8 | 255)"
    let match = "-p \(transport) -m \(transport) --dport \(ports)"
    return Chain(place, entries: [jump(.last, parent, match, "-g", place)])
  }

  /// Returns the rule that leads from one chain to another.
  private func jump(
    _ position: Rule.Position,
    _ parent: ChainPlace,
    _ match: String,
    _ verb: String,
    _ chain: ChainPlace
  ) -> Rule {
    let words = [match, comment("chain"), "\(verb) \(chain.name)"].filter { !$0.isEmpty }
    return Rule(parent.family, parent.table, position, parent.name, words.joined(separator: " "))
  }
}
