/// Looks whether mappings work from end to end, as far as this host can tell: what a comparison with the state cannot
/// see.
struct ProbeInspection {
  private let state: State
  private let layout: ChainLayout

  init(_ workspace: Workspace) {
    state = workspace.state
    layout = workspace.layout
  }

  /// Asks the backends of some mappings. It takes seconds where one does not answer, and needs no lock.
  ///
  /// - Throws: Interruption.
  func differences(of selection: Selection, say: @escaping (ProbeStep) -> Void) throws -> [Difference] {
    let mappings = mappings(selection)
    guard !mappings.isEmpty else { return [] }
    var probe = try BackendProbe(say: say)
    let here = mappings.filter { $0.into == nil }
    let faults = try probe.faults(of: here) + probe.faultsInside(of: mappings)
    return try (faults + answeredDirectly(here)).map { .backend($0) }
  }

  /// The mappings that are meant and whole.
  func mappings(_ selection: Selection) -> [Mapping] {
    state.mappings.filter { $0.status == .active && selection.mappings.contains($0.id) }.map(\.mapping)
  }

  /// Backends whose own network is another one by now than when its clients' rule was made.
  private func answeredDirectly(_ mappings: [Mapping]) throws -> [BackendFault] {
    let interfaces = try Interfaces.current()
    let backends = Set(mappings.filter { $0.delivery.nat && !$0.delivery.masquerade }.map(\.backendIP))
    return backends.sorted().compactMap { backend in
      let purpose = SharedPurpose.forwarding(to: backend)
      guard let subnet = interfaces.subnet(of: backend),
        let made = state.shared.first(where: { $0.purpose == purpose }),
        !layout.rules(for: purpose, subnet: subnet).allSatisfy(made.rules.contains)
      else { return nil }
      return BackendFault(
        address: backend,
        ports: nil,
        transport: .tcp,
        reason: .neighboursAnsweredDirectly(subnet)
      )
    }
  }
}
