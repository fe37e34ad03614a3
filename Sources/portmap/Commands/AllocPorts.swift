import Glibc

/// `portmap alloc` for ports.
enum AllocPortsCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let options = try AllocPortsOptions(arguments, context)
    let task =
      arguments.operands.isEmpty ? "reserve a port" : "reserve \(arguments.operands.joined(separator: " "))"
    try Failure.wrapping(task) {
      if let command = arguments.command, !context.dryRun { return try run(command, options, context) }
      let workspace = try Workspace.open(context)
      let draft = Draft(workspace)
      let reserved = try reserve(options, workspace, draft)
      reserved.forEach { $0.add(to: draft, lent: options.lend) }
      let ids = Set(draft.leases.map(\.lease.id))
      func report(_ state: State) throws {
        if context.json {
          try Output.json(
            state.reservations.filter { ids.contains($0.id) }.map { ReservationDocument($0, state) }
          )
        } else {
          try Output.lines(reserved.map { "\($0.held.ports)" })
        }
      }
      if context.dryRun {
        return context.json ? try report(draft.next) : try Output.lines(draft.preview.lines)
      }
      try draft.apply(report: report)
    }
  }

  /// Reserves ports for as long as a command runs, hands it their sockets unless they are lent, and ends as it does.
  private static func run(_ command: [String], _ options: AllocPortsOptions, _ context: Context) throws {
    // The ports are held by this process first: their numbers are part of the command's environment.
    let workspace = try Workspace.open(context)
    let draft = Draft(workspace)
    let reserved = try reserve(options, workspace, draft)
    let sockets = options.lend ? [] : reserved.flatMap(\.sockets)
    let scoped = Scoped(command: command, context: context)
    let status = try scoped.run(variables: variables(reserved, options), sockets: sockets) { process in
      draft.scope = process
      let ids = reserved.flatMap { $0.add(to: draft, lent: options.lend, isHeldByCommand: !options.lend) }
      try draft.apply { _ in }
      for socket in sockets { try DropFilter.detach(from: socket) }
      workspace.close()
      var match = Selection()
      match.reservations = Set(ids)
      return match
    }
    throw CommandEnded(status: status)
  }

  /// What tells the command its ports, the sockets in the manner of sd_listen_fds(3).
  private static func variables(_ reserved: [ReservedPort], _ options: AllocPortsOptions) -> [String: String]
  {
    let numbers = reserved.map { "\($0.held.ports)" }
    var variables = ["PORT": numbers.first ?? "", "PORTMAP_PORTS": numbers.joined(separator: " ")]
    if !options.lend {
      let names = reserved.flatMap { port in
        port.held.sockets.map { "\($0.transport.rawValue)-\(port.held.ports)" }
      }
      variables["LISTEN_FDS"] = "\(names.count)"
      variables["LISTEN_FDNAMES"] = names.joined(separator: ":")
    }
    return variables
  }

  /// Holds the ports, those that somebody named first: the others must not be chosen from among them.
  ///
  /// - Returns: The ports in the order of the operands.
  private static func reserve(
    _ options: AllocPortsOptions,
    _ workspace: Workspace,
    _ draft: Draft
  ) throws -> [ReservedPort] {
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
    var ports: [Int: [ReservedPort]] = [:]
    for isNamed in [true, false] {
      for (index, spec) in options.specs.enumerated() where (spec.ports?.isSingle ?? false) == isNamed {
        for _ in 0..<options.count {
          let held = try allocator.hold(options.request(spec))
          if options.lend { try held.sockets.flatMap(\.sockets).forEach(PortSocket.lend) }
          ports[index, default: []].append(ReservedPort(held: held))
        }
      }
    }
    draft.next.cursors = allocator.cursors
    return ports.keys.sorted().flatMap { ports[$0] ?? [] }
  }
}

/// One port that alloc has chosen, on all its addresses and for all its transports.
private struct ReservedPort {
  let held: HeldPorts

  var sockets: [Descriptor] { held.sockets.flatMap(\.sockets) }

  /// Records the reservations, and has the call's background process hold the sockets unless the command does.
  ///
  /// - Returns: Their ids.
  @discardableResult
  func add(to draft: Draft, lent: Bool, isHeldByCommand: Bool = false) -> [String] {
    held.sockets.map { host, transport, sockets in
      let reservation = Reservation(
        id: draft.newID(),
        transport: transport,
        hostIP: host,
        port: held.ports.first,
        holder: isHeldByCommand ? "" : draft.holderID,
        lent: lent,
        scope: draft.scope
      )
      draft.next.reservations.append(reservation)
      if !isHeldByCommand { draft.leases.append((reservation.lease, sockets)) }
      return reservation.id
    }
  }
}
