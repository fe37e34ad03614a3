/// A network namespace as somebody names it: by a name under /run/netns, by the number of a process that is in it, or by
/// a path.
struct NamespaceName: Hashable, Sendable {
  /// As it was given.
  let text: String

  /// NAME_MAX and PATH_MAX of the kernel.
  private static let (longestName, longestPath) = (255, 4095)

  /// Nil for a text that can name no file.
  init?(_ text: String) {
    let longest = text.contains("/") ? Self.longestPath : Self.longestName
    guard (1...longest).contains(text.utf8.count), text != ".", text != "..", !text.utf8.contains(0) else {
      return nil
    }
    self.text = text
  }

  /// Whether it is a path.
  var isPath: Bool { text.contains("/") }

  /// The process that it names, unless a file under /run/netns is called so; nil for anything but digits.
  var pid: Int32? { text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int32(text) ?? .max : nil }
}

extension NamespaceName: CustomStringConvertible {
  var description: String { text }
}

/// What tells a network namespace from those that come later under the same name.
struct NamespaceIdentity: Hashable, Sendable {
  /// The number of the namespace: nobody else gets it as long as anything keeps the namespace.
  let inode: UInt64
  /// When the process started that named it, in clock ticks since boot; nil where none did.
  var startTime: UInt64?
}

/// A network namespace that a proxy has entered, to connect from inside of it.
struct GuestNamespace: Hashable, Sendable {
  let name: NamespaceName
  let identity: NamespaceIdentity
}

extension GuestNamespace: TextCodable {
  /// Reads `4026532201:web` or, named by a process that started then, `4026532201@199025:4711`.
  init?(text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let name = Origin.decoded(parts[1]).flatMap({ NamespaceName($0) }) else {
      return nil
    }
    let numbers = parts[0].split(separator: "@", omittingEmptySubsequences: false).map { UInt64($0) }
    guard (1...2).contains(numbers.count), let inode = numbers[0], let last = numbers.last, last != nil else {
      return nil
    }
    let startTime = numbers.count == 2 ? last : nil
    self.init(name: name, identity: NamespaceIdentity(inode: inode, startTime: startTime))
  }

  var text: String {
    let startTime = identity.startTime.map { "@\($0)" } ?? ""
    return "\(identity.inode)\(startTime):\(Origin.encoded(name.text))"
  }
}
