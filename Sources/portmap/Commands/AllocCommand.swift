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
    let namespace = arguments.value("--netns")
    let name = arguments.value("--name")
    try check(arguments, namespace, name)
    let subnet = try arguments.subnet()
    let bridge = try arguments.bridge(context)
    try Failure.wrapping(namespace.map { "plug in \($0)" } ?? "reserve an address") {
      let workspace = try Workspace.open(context.setting)
      let (plan, address) = try Plan.address(
        name: name,
        namespace: namespace,
        bridge: bridge,
        subnet: subnet,
        workspace
      )
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

  private static func check(_ arguments: ParsedArguments, _ namespace: String?, _ name: String?)
    throws(Failure)
  {
    for option in ["--count", "--host-ip", "--range", "--lend"] where arguments.has(option) {
      throw .usage("\(option) is for ports, not for addresses")
    }
    if let operand = arguments.operands.first { throw .usage("'\(operand)': an address takes no port") }
    if arguments.command != nil { throw .usage("-- CMD is for ports, not for addresses") }
    if namespace != nil, arguments.has("--ip") || name != nil {
      throw .usage("--netns excludes --ip and --name: the address is called as the namespace")
    }
    for given in [namespace, name].compactMap({ $0 }) where !Identifier.isName(given) {
      throw .usage(
        "invalid name '\(given)': expected a letter or _, then up to 14 letters, digits, '_', '.' or '-'"
      )
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
