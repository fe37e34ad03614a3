/// The network namespace of a container that has mappings, as it was when they were made.
struct AttachmentRecord: Equatable, Sendable {
  let origin: Origin
  /// The path by which the container's runtime has named it.
  let path: String
  let namespace: NetworkNamespace

  /// Whether the container is gone without a word: its path leads to no namespace any more, or to another one.
  var isGone: Bool { NetworkNamespace(at: path) != namespace }
}

extension AttachmentRecord: TextCodable {
  /// `cni:dbnet/4f3c/eth0 /run/netns/blue 4:4026532000`
  init?(text: String) {
    var words = WordReader(ArraySlice(text.utf8))
    guard let origin = words.value(Origin.init(text:)), let path = words.value({ Origin.decoded($0[...]) }),
      let namespace = words.value(NetworkNamespace.init(text:)), words.isAtEnd
    else { return nil }
    self.init(origin: origin, path: path, namespace: namespace)
  }

  var text: String { "\(origin.text) \(Origin.encoded(path)) \(namespace.text)" }
}

extension State {
  /// The mappings of an attachment.
  func mappings(of origin: Origin) -> [MappingRecord] { mappings.filter { $0.mapping.origin == origin } }

  /// Forgets the namespaces of containers that have no mapping any more.
  mutating func dropUnusedAttachments() {
    guard !attachments.isEmpty else { return }
    let used = Set(mappings.compactMap(\.mapping.origin))
    attachments.removeAll { !used.contains($0.origin) }
  }
}
