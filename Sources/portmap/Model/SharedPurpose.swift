/// What rules are for that several mappings need.
enum SharedPurpose: TextCodable, Hashable, Sendable {
  /// Traffic that DNAT rules lead to a backend.
  case forwarding(to: IPAddress)
  /// The same where no source address is to be rewritten.
  case transit(to: IPAddress)
  /// A backend's answers to the proxy.
  case replies(from: IPAddress)

  /// Reads `forward 172.16.42.2`, `transit 172.16.42.2` or `replies 172.16.42.2`.
  init?(text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 2, let backend = IPAddress(words[1]) else { return nil }
    switch words[0] {
    case "forward": self = .forwarding(to: backend)
    case "transit": self = .transit(to: backend)
    case "replies": self = .replies(from: backend)
    default: return nil
    }
  }

  var text: String {
    switch self {
    case .forwarding(let backend): "forward \(backend)"
    case .transit(let backend): "transit \(backend)"
    case .replies(let backend): "replies \(backend)"
    }
  }
}
