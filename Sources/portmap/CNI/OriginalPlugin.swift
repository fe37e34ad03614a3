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

  /// Finds what is there for an attachment. Where there is no such chain, or no iptables, there is nothing.
  func rules(of attachment: Attachment) -> [Rules] {
    firewall.printed(.nat, Self.chain).map { Rules($0.text, of: attachment, $0.family) }
      .filter { !$0.removal.isEmpty }
  }

  func remove(_ rules: Rules) throws { try firewall.restore(rules.family, rules.removal) }
}
