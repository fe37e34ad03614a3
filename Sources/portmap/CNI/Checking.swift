/// Compares an attachment with what ADD would make of it.
struct Checking {
  private let attachment: Attachment
  private let ports: AttachmentPorts?

  /// - Parameter ports: What is asked for; nil for nothing.
  init(_ attachment: Attachment, _ ports: AttachmentPorts?) {
    self.attachment = attachment
    self.ports = ports
  }

  /// - Throws: CNIError for the first thing that is not as it should be.
  func run(_ setting: Setting) throws {
    let workspace = try Workspace.inspect(setting)
    let records = workspace.state.mappings(of: attachment.origin)
    let wanted = ports?.wanted ?? []
    if records.isEmpty, wanted.isEmpty { return }
    guard !records.isEmpty else {
      throw CNIError(.unknownContainer, "unknown container", "nothing is mapped for \(attachment.origin)")
    }
    if let missing = wanted.first(where: { one in !records.contains { $0.mapping.isMade(as: one) } }) {
      throw CNIError(.deviation, "a mapping is missing", "\(missing.pair)")
    }
    if let excess = records.first(where: { record in !wanted.contains { record.mapping.isMade(as: $0) } }) {
      throw CNIError(.deviation, "a mapping is not asked for", "\(excess.mapping)")
    }
    let selection = Selection(mappings: Set(records.map(\.id)))
    let differences = try Inspection(workspace).differences()
      .filter { !$0.isNote && $0.concerns(selection, in: workspace.state) }
      .filter { !isOfOthers($0, workspace) }
    guard let first = differences.first else { return }
    let more = differences.count == 1 ? "" : " (and \(differences.count - 1) more)"
    throw CNIError(.deviation, "the mappings are not as they should be", "\(first)\(more)")
  }
}

extension Checking {
  /// Whether a difference is one of rules that the attachment has no part in.
  private func isOfOthers(_ difference: Difference, _ workspace: Workspace) -> Bool {
    guard case .rules(let difference) = difference else { return false }
    switch difference.kind {
    case .ruleSurplus, .chainSurplus: return true
    case .ruleMissing(let text), .ruleDuplicated(let text):
      return workspace.state.mappings.contains { record in
        record.mapping.origin != attachment.origin && text.contains(workspace.layout.comment(record.id))
      }
    default: return false
    }
  }
}

extension Mapping {
  /// Whether the mapping is what is wanted.
  fileprivate func isMade(as wanted: AttachmentPorts.Wanted) -> Bool {
    pair == wanted.pair && delivery.nat == wanted.delivery.nat
      && delivery.masquerade == wanted.delivery.masquerade
      && (delivery.hairpin == wanted.delivery.hairpin || !delivery.nat)
  }
}
