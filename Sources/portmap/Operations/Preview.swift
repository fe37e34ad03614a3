/// What a dry run prints: commands that a person could paste, and as comments what only portmap can do.
struct Preview {
  private(set) var lines: [String] = []

  init(_ plan: Plan) {
    add(plan.making)
    add(plan.removal)
  }

  private mutating func add(_ making: Making) {
    for launch in making.launches {
      if let guest = launch.guest { add(comment: "enter the network namespace \(guest.name)") }
    }
    for holding in making.holdings {
      let port = holding.ports == .unknown ? "a free port" : "\(holding.ports)"
      add(comment: "hold \(holding.hostIP.prefix)\(port)\(holding.transport.suffix)")
    }
    if making.holdings.contains(where: { $0.ports == .unknown }), !making.change.isEmpty {
      add(comment: "0 stands for the port that will be chosen")
    }
    add(making.change) { $0.installText($1) }
    for link in making.links { add(link) }
    for family in making.forwarding.sorted(by: { $0.rawValue < $1.rawValue }) where Forwarding.isOff(family) {
      lines.append("sysctl -w \(Forwarding.name(family))=1")
    }
    for route in making.connections {
      let backend = "\(route.backendIP.bracketed):\(route.backendPorts)"
      add(comment: "lead connections to \(route.ports) to \(backend) as they connect")
    }
    if !making.flows.isEmpty { add(comment: "delete the flows of these ports that began before") }
  }

  private mutating func add(_ removal: Removal) {
    for link in removal.links { add(.delete(link)) }
    for ports in removal.connections { add(comment: "lead connections to \(ports) no more") }
    add(removal.change) { $0.removeText($1) }
    if !removal.flows.isEmpty { add(comment: "delete the flows of these ports") }
    for holder in removal.holders { add(comment: "end the background process \(holder)") }
    for reference in removal.holdings {
      add(comment: "background process \(reference.holder) lets go of \(reference.id)")
    }
  }

  private mutating func add(_ change: RuleChange, text: (RuleChange, IPAddress.Family) -> String) {
    for family in change.families {
      let program = family == .v4 ? "iptables-restore" : "ip6tables-restore"
      lines.append(ProgramRunner.shown(program, Firewall.restoreOptions, text(change, family)))
    }
  }

  private mutating func add(_ link: LinkChange) {
    for step in link.steps {
      lines += step.commands.map { "ip \(step.namespace.map { "-netns \($0) " } ?? "")\($0)" }
    }
  }

  private mutating func add(comment: String) { lines.append("# \(comment)") }
}
