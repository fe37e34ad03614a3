extension Target {
  /// The transports that it names; none where it is no port.
  var transports: [Transport] {
    switch self {
    case .ports(let spec): spec.transports.transports
    case .spec(let spec, _): spec.transports.transports
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
    case .spec(_, let typed):
      let isAll = transports == self.transports
      return "\(isAll ? typed : "\(typed.prefix { $0 != "/" })/\(names)") is not mapped"
    case .line(let line): return "\(line) is not mapped"
    case .address(let address): return "address \(address) is not allocated, and nothing is mapped to it"
    case .name(let name): return "no address is called '\(name)'"
    case .id(let id): return "no mapping or reservation has the id \(id)"
    }
  }
}
