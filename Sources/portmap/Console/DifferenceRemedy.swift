// What to do about differences.

extension Difference {
  /// What puts it right: a command, or what the person has to do where none does; nil where that goes without saying.
  ///
  /// - Parameter apply: The call that applies the file of a line.
  func remedy(applying apply: (Origin) -> String) -> String? {
    switch self {
    case .backend(let fault): fault.remedy
    case .declarationFailed(let failure): apply(failure.origin)
    case .foreignRule: "change it where it was made: repair leaves rules of others alone"
    case .nativeChain(let drop): drop.remedy
    case .namespaceGone(_, let error) where error.problem == .noProcess:
      "unmap it, and map it into the process that runs now"
    case .namespaceGone: "\(Self.repair), once it is there again"
    default: Self.repair
    }
  }

  static let repair = "portmap repair"
}

extension NativeDrop {
  fileprivate var remedy: String {
    switch kind {
    // docker writes its table anew, and what is put there goes.
    case _ where table.hasSuffix(" docker-bridges"): "map it --into the container"
    case .forwarded: "nft insert rule \(table) \(chain) ct status dnat accept"
    case .arriving, .proxied, .own, .outgoing:
      "let it pass there: repair leaves rules of others alone"
    }
  }
}
