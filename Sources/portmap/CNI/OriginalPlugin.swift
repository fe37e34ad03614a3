/// The rules of the plugin of the same name that others have written: a chain for each container, to which rules of a
/// chain CNI-HOSTPORT-DNAT of the nat table lead, with a comment that names the network and the container.
///
/// A node changes over while containers run; what was made for them by the one is taken away by the other.
struct OriginalPlugin {
  private static let chain = "CNI-HOSTPORT-DNAT"
  private static let prefix = "CNI-DN-"

  /// The rules of one family that belong to one container.
  struct Rules: Equatable {
    let family: IPAddress.Family
    /// The text for iptables-restore that takes them away; empty where there are none.
    let removal: String

    /// Picks them out of what `iptables -S` has printed of the chain.
    init(_ printed: String, of attachment: Attachment, _ family: IPAddress.Family) {
      self.family = family
      let comment = OriginalPlugin.comment(attachment)
      var lines: [String] = []
      var chains: [String] = []
      for line in printed.split(separator: "\n") where line.hasPrefix("-A \(OriginalPlugin.chain) ") {
        let words = SavedRules.words(line)
        guard let place = words.firstIndex(of: "--comment"), words.dropFirst(place + 1).first == comment,
          let chain = words.last, chain.hasPrefix(OriginalPlugin.prefix)
        else { continue }
        lines.append("-D \(SavedRules.text(Array(words.dropFirst())))")
        if !chains.contains(chain) { chains.append(chain) }
      }
      lines += chains.map { "-F \($0)" } + chains.map { "-X \($0)" }
      removal = lines.isEmpty ? "" : "*nat\n" + lines.joined(separator: "\n") + "\nCOMMIT\n"
    }
  }

  /// As that plugin writes it; iptables cuts comments at 255 bytes.
  private static func comment(_ attachment: Attachment) -> String {
    let text = "dnat name: \"\(attachment.network)\" id: \"\(attachment.container)\""
    return String(decoding: text.utf8.prefix(255), as: UTF8.self)
  }

  private let firewall: Firewall

  init(_ firewall: Firewall) { self.firewall = firewall }

  /// Starts to look for what is there.
  func look() -> Look { Look(listings: firewall.startPrinting(.nat, Self.chain)) }

  /// A look that is under way. Where there is no such chain, or no iptables, it finds nothing.
  struct Look {
    fileprivate let listings: [(family: IPAddress.Family, program: RunningProgram)]

    /// What belongs to an attachment.
    func rules(of attachment: Attachment) -> [Rules] {
      listings.compactMap { family, program in
        guard let result = try? program.finish(), result.status == 0 else { return nil }
        return Rules(result.text, of: attachment, family)
      }
      .filter { !$0.removal.isEmpty }
    }
  }

  func remove(_ rules: Rules) throws { try firewall.restore(rules.family, rules.removal) }
}
