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

  init(_ arguments: ParsedArguments, _ context: Context) throws {
    for option in ["--name", "--bridge", "--subnet"] where arguments.has(option) {
      throw Failure.usage("\(option) goes with --ip or --netns")
    }
    let operands = try arguments.operands.map { text throws(SpecError) in try ReservationSpec(text) }
    specs = operands.isEmpty ? [ReservationSpec(any: .one(.tcp))] : operands
    count = try Self.count(arguments)
    hostAddresses = try arguments.hostAddresses()
    range = try arguments.portRange(context)
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

/// `portmap alloc` for ports.
enum AllocPortsCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let options = try AllocPortsOptions(arguments, context)
    let task =
      arguments.operands.isEmpty ? "reserve a port" : "reserve \(arguments.operands.joined(separator: " "))"
    try Failure.wrapping(task) {
      let workspace = try Workspace.open(context)
      let draft = Draft(workspace)
      let ports = try plan(options, workspace, draft)
      let ids = Set(draft.leases.map(\.lease.id))
      func report(_ state: State) throws {
        if context.json {
          let made = state.reservations.filter { ids.contains($0.id) }
          try Output.json(made.map { ReservationDocument($0, state) })
        } else {
          try Output.lines(ports.map { "\($0)" })
        }
      }
      if context.dryRun {
        return context.json ? try report(draft.next) : try Output.lines(draft.preview.lines)
      }
      try draft.apply(report: report)
    }
  }

  /// Holds the ports and adds them to the draft.
  ///
  /// - Returns: Their numbers in the order of the operands.
  private static func plan(_ options: AllocPortsOptions, _ workspace: Workspace, _ draft: Draft) throws
    -> [UInt16]
  {
    try DescriptorLimit.makeRoom(
      for: options.specs.count * options.count * max(2, options.hostAddresses.count * 2)
    )
    var allocator = PortAllocator(
      ledger: PortLedger(mappings: workspace.state.mappings, reservations: workspace.state.reservations),
      reservedPorts: PortAllocator.reservedPorts(),
      takeOver: nil,
      cursors: workspace.state.cursors,
      isPreview: workspace.isPreview
    )
    var ports: [Int: [UInt16]] = [:]
    for pass in [true, false] {
      for (index, spec) in options.specs.enumerated() where (spec.ports?.isSingle ?? false) == pass {
        for _ in 0..<options.count {
          let held = try allocator.hold(options.request(spec))
          add(held, workspace, draft)
          ports[index, default: []].append(held.ports.first)
        }
      }
    }
    draft.next.cursors = allocator.cursors
    return ports.keys.sorted().flatMap { ports[$0] ?? [] }
  }

  private static func add(_ held: HeldPorts, _ workspace: Workspace, _ draft: Draft) {
    for (host, transport, sockets) in held.sockets {
      let id = draft.newID()
      draft.next.reservations.append(
        Reservation(
          id: id,
          transport: transport,
          hostIP: host,
          port: held.ports.first,
          holder: draft.holderID
        )
      )
      draft.leases.append((Lease(id: id, transport: transport, hostIP: host, ports: held.ports), sockets))
    }
  }
}

/// `portmap alloc --ip` and `--netns`.
enum AllocAddressCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let namespace = arguments.value("--netns")
    let name = arguments.value("--name")
    for option in ["--count", "--host-ip", "--range"] where arguments.has(option) {
      throw Failure.usage("\(option) is for ports, not for addresses")
    }
    if let operand = arguments.operands.first {
      throw Failure.usage("'\(operand)': an address takes no port")
    }
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
