extension Target {
  /// The transports that it names; none where it is no port.
  var transports: [Transport] {
    switch self {
    case .ports(let spec): spec.transports.transports
    case .spec(let spec): spec.transports.transports
    default: []
    }
  }

  /// Says that the target is nowhere.
  var absence: String { absence(of: transports) }

  /// Says that the target is nowhere for these of its transports.
  func absence(of transports: [Transport]) -> String {
    let names = transports.map(\.rawValue).joined(separator: "+")
    switch self {
    case .ports(let spec):
      return "port \(names)/\(spec.hostAddress.prefix)\(spec.ports ?? .unknown) is not mapped"
    case .spec: return "there is no such \(names) mapping"
    case .line: return "there is no such mapping"
    case .address(let address): return "address \(address) is not allocated, and nothing is mapped to it"
    case .name(let name): return "no address is called '\(name)'"
    case .id(let id): return "nothing has the id \(id)"
    }
  }
}
