/// What a dry run prints: commands that a person could paste, and as comments what only portmap can do.
struct Preview {
  private(set) var lines: [String] = []

  mutating func add(_ change: RuleChange, removing: Bool = false) {
    for family in change.families {
      let program = family == .v4 ? "iptables-restore" : "ip6tables-restore"
      let text = removing ? change.removeText(family) : change.installText(family)
      lines.append(ProgramRunner.shown(program, Firewall.restoreOptions, text))
    }
  }

  mutating func add(_ commands: [String], inNamespace name: String?) {
    lines += commands.map { "ip \(name.map { "-netns \($0) " } ?? "")\($0)" }
  }

  mutating func add(_ forwarding: Set<IPAddress.Family>) {
    for family in forwarding.sorted(by: { $0.rawValue < $1.rawValue }) where Forwarding.isOff(family) {
      lines.append(
        "sysctl -w " + (family == .v4 ? "net.ipv4.ip_forward=1" : "net.ipv6.conf.all.forwarding=1")
      )
    }
  }

  mutating func add(comment: String) { lines.append("# \(comment)") }
}

extension Draft {
  /// What `apply` would do.
  var preview: Preview {
    var preview = Preview()
    let change = change
    for (lease, _) in leases {
      let port = lease.ports == .unknown ? "a free port" : "\(lease.ports)"
      preview.add(comment: "hold \(lease.hostIP.prefix)\(port)\(lease.transport.suffix)")
    }
    if leases.contains(where: { $0.lease.ports == .unknown }), !change.isEmpty {
      preview.add(comment: "0 stands for the port that will be chosen")
    }
    preview.add(change)
    for (namespace, commands) in linkCommands { preview.add(commands, inNamespace: namespace) }
    preview.add(forwarding)
    if !flows.isEmpty {
      preview.add(comment: "forget flows that are older than the mapping (conntrack -L, conntrack -D)")
    }
    return preview
  }
}

extension Release {
  /// What `carryOut` would do.
  var preview: Preview {
    var preview = Preview()
    preview.add(intent.links.map { "link delete \($0)" }, inNamespace: nil)
    preview.add(intent.change, removing: true)
    if !intent.flows.isEmpty {
      preview.add(comment: "forget the flows of these ports (conntrack -L, conntrack -D)")
    }
    for holder in intent.holders { preview.add(comment: "end the background process \(holder)") }
    for lease in intent.leases {
      preview.add(comment: "background process \(lease.holder) lets go of \(lease.lease)")
    }
    return preview
  }
}
