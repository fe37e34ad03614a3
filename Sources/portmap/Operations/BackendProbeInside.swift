import Glibc

extension BackendProbe {
  /// Asks the backends of mappings that are reached from inside other network namespaces (`map --into`), each from in
  /// there, by the name that the namespace has now.
  ///
  /// - Throws: Interruption.
  func faultsInside(of mappings: [Mapping]) throws -> [BackendFault] {
    let groups = Dictionary(grouping: mappings) { $0.into?.name }
    let names = groups.keys.compactMap { $0 }.sorted { $0.text < $1.text }
    return try names.flatMap { try faults(of: groups[$0] ?? [], inside: $0) }
  }

  private func faults(of mappings: [Mapping], inside name: NamespaceName) throws -> [BackendFault] {
    var known: Set<BackendPorts> = []
    let backends = mappings.map(BackendPorts.init).filter { known.insert($0).inserted }
    var faults: [BackendFault]
    do {
      let namespace = try OpenedNamespace(name)
      let questions = backends.map { backend in backend.asked.map { backend.question($0) } }
      faults = try zip(backends, ask(questions, in: namespace.descriptor)).flatMap { backend, answers in
        backend.faults(answers.map { Self.reasonInside($0, backend.transport) })
      }
    } catch let error as NamespaceError {
      // That it is gone is a difference of its own.
      guard ![.missing, .noProcess].contains(error.problem) else { return [] }
      faults = backends.map { $0.fault(.namespaceClosed(error)) }
    } catch let error as SystemError {
      faults = backends.map { $0.fault(.namespaceClosed(NamespaceError(name, becauseOf: error))) }
    }
    for index in faults.indices { faults[index].into = name }
    return faults
  }

  /// What an answer means where the way is the guest's own.
  private static func reasonInside(_ answer: PortAnswer, _ transport: Transport) -> BackendFault.Reason? {
    switch answer {
    case .open: nil
    case .silent: transport == .udp ? nil : .silent
    case .failed(ECONNREFUSED): .refused(listening: [])
    case .failed(ENETUNREACH): .noRoute(networks: [])
    case .failed(let errno): .notAsked(errno: errno)
    }
  }
}
