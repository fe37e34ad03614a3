/// A container's interface in a network: what the mappings of a container belong to (CNI's specification, section 3).
struct Attachment: Hashable, Sendable {
  let network: String
  let container: String
  let interface: String

  /// What the names of attachments begin with; those of files begin otherwise.
  static let prefix = "cni:"

  /// What the names of a network's attachments begin with.
  static func prefix(of network: String) -> String { "\(prefix)\(network)/" }

  /// Whose name the attachment's mappings carry: `cni:dbnet/4f3c/eth0`.
  var origin: Origin { Origin(name: "\(Self.prefix(of: network))\(container)/\(interface)", line: 0) }

  init(network: String, container: String, interface: String) {
    self.network = network
    self.container = container
    self.interface = interface
  }

  /// Reads the attachment that an origin stands for; nil for a line of a file.
  init?(_ origin: Origin) {
    guard !origin.isLine, origin.name.hasPrefix(Self.prefix) else { return nil }
    let parts = origin.name.dropFirst(Self.prefix.count)
      .split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 3 else { return nil }
    self.init(network: parts[0], container: parts[1], interface: parts[2])
  }
}
