import Glibc

extension BackendProbe {
  /// Asks the backends of mappings that are reached from inside another network namespace.
  ///
  /// - Parameter namespace: The namespace's open file.
  /// - Throws: Interruption.
  func faults(of mappings: [Mapping], inside namespace: Descriptor) throws -> [BackendFault] {
    let backends = mappings.map(BackendPorts.init)
    do {
      let answers = try ask(
        backends.map { backend in backend.asked.map { backend.question($0) } },
        in: namespace
      )
      return zip(backends, answers).flatMap { backend, answers in
        backend.faults(answers.map { Self.reasonInside($0, backend.transport) })
      }
    } catch let error as SystemError {
      return backends.map { $0.fault(.namespaceClosed(errno: error.errno)) }
    }
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
