/// `portmap alloc` for ports.
enum AllocPortsCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let request = try AllocRequest(arguments, context)
    try Failure.wrapping(request.task(arguments.operands)) {
      if let command = arguments.command, !context.dryRun { return try run(command, request, context) }
      let workspace = try Workspace.open(context.setting, waiting: .left)
      let reserver = Reserver(request, workspace)
      let held = try reserver.hold()
      let (plan, sockets) = try reserver.plan(held)
      func report(_ state: State) throws {
        guard context.json else { return try Output.lines(held.ports.map { "\($0.ports)" }) }
        let made = state.reservations.suffix(sockets.byHolding.count)
        try Output.json(made.map { ReservationDocument($0, state) })
      }
      guard !context.dryRun else {
        return context.json ? try report(plan.next) : try Output.lines(Preview(plan).lines)
      }
      try Transaction(plan, workspace, sockets: sockets).carryOut(report: report)
    }
  }

  /// Reserves ports for as long as a command runs, hands it their sockets unless they are lent, and ends as it does.
  private static func run(_ command: [String], _ request: AllocRequest, _ context: Context) throws {
    // The ports are held by this process first: their numbers are part of the command's environment.
    let workspace = try Workspace.open(context.setting, waiting: .left)
    let reserver = Reserver(request, workspace)
    let held = try reserver.hold()
    let passedOn = request.lend ? [] : held.sockets
    let scope = CommandScope(command: command, setting: context.setting)
    let status = try scope.run(variables: variables(held, request), sockets: passedOn) { process in
      defer { workspace.close() }
      let (plan, sockets) = try reserver.plan(held, scope: process, isHeldByCommand: !request.lend)
      try Transaction(plan, workspace, sockets: sockets).carryOut()
      for socket in passedOn { try DropFilter.detach(from: socket) }
      return Selection(reservations: Set(sockets.byHolding.keys))
    }
    throw CommandEnded(status: status)
  }

  /// What tells the command its ports, the sockets in the manner of sd_listen_fds(3).
  private static func variables(_ held: Reserver.Result, _ request: AllocRequest) -> [String: String] {
    let numbers = held.ports.map { "\($0.ports)" }
    var variables = ["PORT": numbers.first ?? "", "PORTMAP_PORTS": numbers.joined(separator: " ")]
    if !request.lend {
      let names = held.ports.flatMap { port in
        port.sockets.map { "\($0.transport.rawValue)-\(port.ports)" }
      }
      variables["LISTEN_FDS"] = "\(names.count)"
      variables["LISTEN_FDNAMES"] = names.joined(separator: ":")
    }
    return variables
  }
}

/// The options and operands of `alloc` for ports.
extension AllocRequest {
  init(_ arguments: ParsedArguments, _ context: Context) throws {
    for option in ["--name", "--bridge", "--subnet"] where arguments.has(option) {
      throw Failure.usage("\(option) goes with --ip or --netns")
    }
    let operands = try arguments.operands.map { text throws(SpecError) in try ReservationSpec(text) }
    self.init(
      specs: operands.isEmpty ? [ReservationSpec(any: .one(.tcp))] : operands,
      count: try Self.count(arguments),
      hostAddresses: try arguments.hostAddresses(),
      range: try arguments.portRange(context),
      lend: arguments.has("--lend")
    )
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

  /// What is done, in words.
  func task(_ operands: [String]) -> String {
    operands.isEmpty ? "reserve a port" : "reserve \(operands.joined(separator: " "))"
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
}
