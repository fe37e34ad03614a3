/// `portmap alloc`: reserves ports, or an address of a bridge network.
enum AllocCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    if arguments.has("--ip") || arguments.has("--netns") {
      try AllocAddressCommand.run(arguments, context)
    } else {
      try AllocPortsCommand.run(arguments, context)
    }
  }
}

/// The options and operands of `alloc` for ports.
struct AllocPortsOptions {
  let specs: [ReservationSpec]
  /// How many of each.
  let count: Int
  let hostAddresses: [HostAddress]
  let range: PortRange
  /// Whether the ports are for servers that bind them themselves.
  let lend: Bool

  init(_ arguments: ParsedArguments, _ context: Context) throws {
    for option in ["--name", "--bridge", "--subnet"] where arguments.has(option) {
      throw Failure.usage("\(option) goes with --ip or --netns")
    }
    let operands = try arguments.operands.map { text throws(SpecError) in try ReservationSpec(text) }
    specs = operands.isEmpty ? [ReservationSpec(any: .one(.tcp))] : operands
    count = try Self.count(arguments)
    hostAddresses = try arguments.hostAddresses()
    range = try arguments.portRange(context)
    lend = arguments.has("--lend")
    if lend, specs.contains(where: { $0.transports != .one(.tcp) }) {
      throw Failure.usage("--lend is for tcp: other transports cannot be bound twice")
    }
    for (spec, text) in zip(operands, arguments.operands) {
      if !hostAddresses.isEmpty, spec.hostAddress != .every {
        throw Failure.usage("--host-ip is for ports without an address, not for '\(text)'")
      }
      if count > 1, spec.ports?.isSingle ?? false {
        throw Failure.usage("'\(text)' is one port: --count \(count) needs a range, or 0")
      }
    }
    try checkOverlaps(arguments.operands)
  }

  private static func count(_ arguments: ParsedArguments) throws(Failure) -> Int {
    guard let text = arguments.value("--count") else { return 1 }
    guard let count = PortRange.port(text[...]), count > 0 else {
      throw .usage("invalid count '\(text)': expected a number from 1 on")
    }
    return Int(count)
  }

  private func checkOverlaps(_ texts: [String]) throws(Failure) {
    var seen: [(ReservationSpec, String)] = []
    for (spec, text) in zip(specs, texts) where spec.ports?.isSingle ?? false {
      let clash = seen.first { other, _ in
        other.ports == spec.ports && other.hostAddress.overlaps(spec.hostAddress)
          && !Set(other.transports.transports).isDisjoint(with: spec.transports.transports)
      }
      if let clash { throw .usage("'\(clash.1)' and '\(text)' need the same host port") }
      seen.append((spec, text))
    }
  }

  func request(_ spec: ReservationSpec) -> PortRequest {
    let choice: PortRequest.Choice =
      if let ports = spec.ports { ports.isSingle ? .exactly(ports) : .lowest(of: ports) } else {
        .next(in: range)
      }
    let hosts = hostAddresses.isEmpty || spec.hostAddress != .every ? [spec.hostAddress] : hostAddresses
    return PortRequest(choice: choice, width: 1, hosts: hosts, transports: spec.transports.transports)
  }
}

/// `portmap alloc --ip` and `--netns`.
enum AllocAddressCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let namespace = arguments.value("--netns")
    let name = arguments.value("--name")
    for option in ["--count", "--host-ip", "--range", "--lend"] where arguments.has(option) {
      throw Failure.usage("\(option) is for ports, not for addresses")
    }
    if let operand = arguments.operands.first {
      throw Failure.usage("'\(operand)': an address takes no port")
    }
    if arguments.command != nil { throw Failure.usage("-- CMD is for ports, not for addresses") }
    if namespace != nil, arguments.has("--ip") || name != nil {
      throw Failure.usage("--netns excludes --ip and --name: the address is called as the namespace")
    }
    for given in [namespace, name].compactMap({ $0 }) where !Identifier.isName(given) {
      throw Failure.usage(
        "invalid name '\(given)': expected a letter or _, then up to 14 letters, digits, '_', '.' or '-'"
      )
    }
    let subnet = try arguments.subnet()
    let bridge = try arguments.bridge(context)
    let task = namespace.map { "plug in \($0)" } ?? "reserve an address"
    try Failure.wrapping(task) {
      if !context.dryRun {
        try NetAdmin.require(for: "an address of a bridge network", hint: "run it as root")
      }
      let workspace = try Workspace.open(context)
      if let taken = workspace.state.addresses.first(where: { $0.name != nil && $0.name == namespace ?? name }
      ) {
        throw Failure(.conflict, "the name '\(taken.name ?? "")' is \(taken.ip)'s already")
      }
      let draft = Draft(workspace)
      let guests = Guests(workspace: workspace, draft: draft)
      var lease = try guests.lease(bridge: bridge, subnet: subnet)
      lease.name = name
      if let namespace { try guests.plug(namespace, into: &lease) }
      draft.next.addresses.append(lease)
      func report(_ state: State) throws {
        try context.json ? Output.json([AddressDocument(lease, state)]) : Output.lines(["\(lease.ip)"])
      }
      if context.dryRun {
        return context.json ? try report(draft.next) : try Output.lines(draft.preview.lines)
      }
      try draft.apply(report: report)
    }
  }
}

extension ParsedArguments {
  /// A network with room for a bridge and a guest.
  fileprivate func subnet() throws(Failure) -> Subnet? {
    guard let text = value("--subnet") else { return nil }
    guard let subnet = Subnet(text), subnet.address.family == .v4, (1...30).contains(subnet.prefixLength),
      subnet.address != subnet.last, !subnet.address.isMulticast, !subnet.address.isLoopback
    else {
      throw .usage(
        "invalid subnet '\(text)': expected an IPv4 network such as 172.16.42.0/24, /30 at the least"
      )
    }
    return subnet
  }
}
