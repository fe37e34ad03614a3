/// A command: its place in the dispatch, its help, and what the completions know of it.
struct CommandDefinition: Sendable {
  let name: String
  let synopsis: [String]
  let summary: String
  /// What the options' explanations leave open, a paragraph each.
  var details: [String] = []
  let options: [OptionDefinition]
  /// Whether `--` begins a command to run.
  var takesCommand = false
  let run: @Sendable (ParsedArguments, Context) throws -> Void

  /// Its own options and those of every command.
  var allOptions: [OptionDefinition] { options + CommandTable.commonOptions }
}

/// The one table that dispatch, help and the completions' test share.
enum CommandTable {
  static let version = "0.1.0"

  static let commonOptions = [
    OptionDefinition(name: "--json", help: "print one JSON document"),
    OptionDefinition(
      name: "--quiet",
      short: "-q",
      help: "print less: map the bare ports, list the identifiers"
    ),
    OptionDefinition(name: "--verbose", short: "-v", help: "show each command that is run on stderr"),
    OptionDefinition(
      name: "--state-dir",
      value: "DIR",
      help: "where the state is (default: $PORTMAP_STATE_DIR, else under /run)"
    ),
    OptionDefinition(name: "--help", short: "-h", help: "explain the command"),
  ]

  private static let dryRun = OptionDefinition(
    name: "--dry-run",
    short: "-n",
    help: "print what would be run; needs no root, changes nothing"
  )
  private static let hostIP = OptionDefinition(
    name: "--host-ip",
    value: "ADDR",
    isRepeatable: true,
    help: "the host's address, for specs without one; several: the same port on each"
  )
  private static let range = OptionDefinition(
    name: "--range",
    value: "A-B",
    help: "where ports are allocated (default: $PORTMAP_RANGE, else 49153-65535)"
  )
  private static let bridge = OptionDefinition(
    name: "--bridge",
    value: "NAME",
    help: "the bridge network of addresses (default: $PORTMAP_BRIDGE, else portmap0)"
  )
  private static let proxyProtocol = OptionDefinition(
    name: "--proxy-protocol",
    value: "v1|v2",
    help: "begin each connection with a PROXY protocol header"
  )
  private static let target =
    "A TARGET is a port (8080/udp), a whole range, a spec, a line that map printed, an address or its name, or an id."

  static let commands = [
    CommandDefinition(
      name: "map",
      synopsis: ["map [--to ADDR|NAME] [OPTION...] SPEC... [-- CMD ARG...]"],
      summary: "map ports of this host to a backend",
      details: [
        "A SPEC is [HOST_IP:][HOST[-END]]:BACKEND[-END][/PROTO], or BACKEND[-END][/PROTO], whose host port is"
          + " allocated. PROTO is tcp (the default), udp, sctp or tcp+udp.",
        "With -- CMD the mappings live as long as CMD, whose exit status becomes portmap's own; 125 is portmap's failure,"
          + " 126 and 127 say that CMD could not be run.",
      ],
      options: [
        OptionDefinition(
          name: "--to",
          value: "ADDR|NAME",
          help: "the backend (default: $PORTMAP_TO, else the next address of the bridge network)"
        ),
        hostIP, bridge,
        OptionDefinition(name: "--no-proxy", help: "rules only: loopback and the other family get no answer"),
        OptionDefinition(
          name: "--proxy-only",
          help: "no rules: everything goes through the proxy; needs no root"
        ),
        OptionDefinition(name: "--masquerade", help: "rewrite the source of this mapping's traffic"),
        proxyProtocol, range, dryRun,
      ],
      takesCommand: true,
      run: MapCommand.run
    ),
    CommandDefinition(
      name: "unmap",
      synopsis: ["unmap [--if-exists] TARGET...", "unmap --all"],
      summary: "release mappings, reservations and addresses",
      details: [target],
      options: [
        OptionDefinition(name: "--if-exists", help: "a target that is nowhere is no failure"),
        OptionDefinition(name: "--all", help: "release everything, portmap's own bridge too"),
        dryRun,
      ],
      run: UnmapCommand.run
    ),
    CommandDefinition(
      name: "alloc",
      synopsis: [
        "alloc [-c N] [--lend] [OPTION...] [PORTSPEC...] [-- CMD ARG...]",
        "alloc --ip [--name NAME] [--bridge NAME] [--subnet CIDR]",
        "alloc --netns NAME [--bridge NAME] [--subnet CIDR]",
      ],
      summary: "reserve ports that no other process can take, or an address",
      details: [
        "A PORTSPEC is [HOST_IP:]PORT[-END][/PROTO]: one port, one free port of a range, or with 0 any; without one,"
          + " any tcp port.",
        "With -- CMD the ports live as long as CMD, whose exit status becomes portmap's own. CMD finds the sockets from"
          + " descriptor 3 on as with systemd (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES), the first port in PORT, all in"
          + " PORTMAP_PORTS.",
      ],
      options: [
        OptionDefinition(name: "--count", short: "-c", value: "N", help: "how many of each (default: 1)"),
        hostIP, range,
        OptionDefinition(
          name: "--lend",
          help: "for a server that sets SO_REUSEADDR and binds the port itself (tcp)"
        ),
        OptionDefinition(name: "--ip", help: "the next address of the bridge network"),
        OptionDefinition(name: "--netns", value: "NAME", help: "plug that network namespace into the bridge"),
        OptionDefinition(name: "--name", value: "NAME", help: "what the address is called"),
        bridge,
        OptionDefinition(
          name: "--subnet",
          value: "CIDR",
          help: "the network of a bridge that is not there yet"
        ),
        dryRun,
      ],
      takesCommand: true,
      run: AllocCommand.run
    ),
    CommandDefinition(
      name: "list",
      synopsis: ["list [TARGET...]"],
      summary: "show mappings, reservations and addresses",
      details: [target],
      options: [],
      run: ListCommand.run
    ),
    CommandDefinition(
      name: "proxy",
      synopsis: ["proxy [OPTION...] [PORTSPEC BACKEND_IP:PORT]..."],
      summary: "forward in the foreground; no root, no state, no rules",
      details: [
        "A PORTSPEC is [HOST_IP:]PORT[-END][/PROTO], 0 for any port. Given sockets by systemd (LISTEN_FDS), it serves"
          + " those, and each operand is just a backend."
      ],
      options: [
        proxyProtocol,
        OptionDefinition(
          name: "--udp-timeout",
          value: "SECONDS",
          help: "when an idle udp client is forgotten (default: 90)"
        ),
      ],
      run: ProxyCommand.run
    ),
    CommandDefinition(
      name: "check",
      synopsis: ["check"],
      summary: "compare rules, sockets and processes with what they should be",
      options: [],
      run: CheckCommand.run
    ),
    CommandDefinition(
      name: "repair",
      synopsis: ["repair [-n]"],
      summary: "put back what is missing, take away what nothing has",
      options: [dryRun],
      run: RepairCommand.run
    ),
  ]

  static func command(_ name: String) -> CommandDefinition? { commands.first { $0.name == name } }
}
