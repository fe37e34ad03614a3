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

/// `portmap alloc --ip` and `--netns`.
enum AllocAddressCommand {
  static func run(_ arguments: ParsedArguments, _ context: Context) throws {
    let request = try AddressRequest(arguments, context)
    try Failure.wrapping(request.task) {
      let workspace = try Workspace.open(context.setting)
      let (plan, address) = try Plan.address(request, workspace)
      func report(_ state: State) throws {
        try context.json
          ? Output.json([AddressDocument(address, state)]) : Output.lines(["\(address.ip)"])
      }
      guard !context.dryRun else {
        return context.json ? try report(plan.next) : try Output.lines(Preview(plan).lines)
      }
      try Transaction(plan, workspace).carryOut(report: report)
    }
  }
}

/// The options of `alloc` for addresses.
extension AddressRequest {
  init(_ arguments: ParsedArguments, _ context: Context) throws {
    for option in ["--count", "--host-ip", "--range", "--lend"] where arguments.has(option) {
      throw Failure.usage("\(option) is for ports, not for addresses")
    }
    if let operand = arguments.operands.first {
      throw Failure.usage("'\(operand)': an address takes no port")
    }
    if arguments.command != nil { throw Failure.usage("-- CMD is for ports, not for addresses") }
    let namespace = arguments.value("--netns")
    let name = arguments.value("--name")
    if namespace != nil, arguments.has("--ip") || name != nil {
      throw Failure.usage("--netns excludes --ip and --name: the address is called as the namespace")
    }
    for given in [namespace, name].compactMap({ $0 }) where !Identifier.isName(given) {
      throw Failure.usage(
        "invalid name '\(given)': expected a letter or _, then up to 14 letters, digits, '_', '.' or '-'"
      )
    }
    self.init(
      name: name,
      namespace: namespace,
      bridge: try arguments.bridge(context),
      subnet: try arguments.subnet()
    )
  }

  /// What is done, in words.
  var task: String { namespace.map { "plug in \($0)" } ?? "reserve an address" }
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
