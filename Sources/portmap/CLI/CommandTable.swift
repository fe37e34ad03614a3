/// A command of portmap: its code, its options and the words that explain it.
struct CommandDefinition: Sendable {
  let name: String
  let synopsis: [String]
  let summary: String
  /// Paragraphs about its operands and whatever its options leave open.
  var details: [String] = []
  let options: [OptionDefinition]
  /// Whether `--` begins a command to run.
  var takesCommand = false
  /// A command line that a person can start from, and what it does.
  let example: (line: String, effect: String)
  /// The statuses that it ends with, each with its reason; those of a command that it runs aside.
  let statuses: [(status: ExitStatus, reason: String)]
  let run: @Sendable (ParsedArguments, Context) throws -> Void

  /// The options of the command itself and those of every command.
  var allOptions: [OptionDefinition] { options + CommandTable.commonOptions }
}

/// The table of commands, from which dispatch and help are made.
enum CommandTable {
  static let version = "0.1.0"

  /// The options that may stand before the command: those of every command, and two that not every command takes.
  static let leadingOptions =
    commonOptions + [dryRun, OptionDefinition(name: "--version", help: "tell the version")]

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
      help: "the folder with the state (default: $PORTMAP_STATE_DIR, else one under /run)"
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
    help: "the ports to choose from (default: $PORTMAP_RANGE, else 49153-65535)"
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
  private static func into(_ backends: String) -> OptionDefinition {
    OptionDefinition(
      name: "--into",
      value: "NETNS",
      help: "connect from inside a network namespace: its name, a process or a path; \(backends) in there"
    )
  }
  private static let target =
    "A TARGET is a port (8080/udp), a whole range, a spec, a line that map printed, an address or its name, or an id."
  private static let done = (ExitStatus.success, "done")
  private static let undone = (ExitStatus.failed, "failed; everything done so far was undone")
  private static let usage = (ExitStatus.usage, "usage error; nothing was tried")
  private static let notPermitted = (
    ExitStatus.notPermitted, "not permitted; the message names what is needed"
  )
  private static let nowhere = (ExitStatus.nothingMatched, "a target is nowhere")

  static let commands = [
    CommandDefinition(
      name: "map",
      synopsis: [
        "map [--to ADDR|NAME] [OPTION...] SPEC... [-- CMD ARG...]",
        "map --into NETNS [--to ADDR] [OPTION...] SPEC... [-- CMD ARG...]",
      ],
      summary: "map ports of this host to a backend",
      details: [
        "A SPEC is [HOST_IP:][HOST[-END]]:BACKEND[-END][/PROTO], or BACKEND[-END][/PROTO], whose host port is"
          + " allocated. PROTO is tcp (the default), udp, sctp or tcp+udp.",
        "With -- CMD the mappings live as long as CMD.",
      ],
      options: [
        OptionDefinition(
          name: "--to",
          value: "ADDR|NAME",
          help: "the backend (default: $PORTMAP_TO, else the next address of the bridge network)"
        ),
        into("--to is an address"), hostIP, bridge,
        OptionDefinition(name: "--no-proxy", help: "rules only: loopback and the other family get no answer"),
        OptionDefinition(
          name: "--proxy-only",
          help: "no rules: everything goes through the proxy; needs no root"
        ),
        OptionDefinition(name: "--masquerade", help: "rewrite the source of this mapping's traffic"),
        proxyProtocol, range, dryRun,
      ],
      takesCommand: true,
      example: ("portmap map 8080:80 --to 172.16.42.2", "port 8080 of this host leads to port 80 there"),
      statuses: [
        done, undone, usage, (.conflict, "a host port is taken; another one may work"), notPermitted,
      ],
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
      example: ("portmap unmap 8080 53/udp web", "releases two ports and the address called web"),
      statuses: [done, (.failed, "failed; give the command again"), usage, notPermitted, nowhere],
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
        "With -- CMD the ports live as long as CMD, which finds the sockets from descriptor 3 on as with systemd"
          + " (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES), the first port in PORT, all in PORTMAP_PORTS.",
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
        OptionDefinition(name: "--name", value: "NAME", help: "a name for the address"),
        bridge,
        OptionDefinition(
          name: "--subnet",
          value: "CIDR",
          help: "the network of a bridge that is not there yet"
        ),
        dryRun,
      ],
      takesCommand: true,
      example: ("port=$(portmap alloc 8000-8010)", "one free port of these, which nobody else can take"),
      statuses: [
        done, undone, usage, (.conflict, "the port or address is taken; another one may work"), notPermitted,
      ],
      run: AllocCommand.run
    ),
    CommandDefinition(
      name: "apply",
      synopsis: ["apply [-n | --watch] [--origin NAME] [FILE]"],
      summary: "make what a file declares so, and release what it declares no more",
      details: [
        "Each line of FILE is a map or alloc command without the word portmap; # begins a comment, words are split as"
          + " in a shell. Without FILE it is /etc/portmap.conf and then /etc/portmap.d/*.conf; an ordinary user's is"
          + " portmap.conf in ~/.config. - is standard input.",
        "What is there as it is declared stays untouched. A mapping that leads elsewhere now keeps its port. What"
          + " others have made is left alone. A line that cannot be made is named, and the others are made.",
        "With --watch it stays: rules that somebody takes away and processes that die are back at once, whoever made"
          + " them, and lines that could not be made are tried again. HUP reads the files again, TERM ends it.",
      ],
      options: [
        OptionDefinition(name: "--watch", help: "stay, and keep it so"),
        OptionDefinition(
          name: "--origin",
          value: "NAME",
          help: "what standard input is called: it takes the place of the path"
        ),
        dryRun,
      ],
      example: ("portmap apply -n", "shows what the files would change"),
      statuses: [
        done, (.failed, "a line could not be made; the rest was done"),
        (.usage, "usage error, or a mistake in a line; nothing was tried"),
        (.conflict, "as 1, where all failures are ports or addresses that are taken"),
        (.notPermitted, "as 1, where all failures are for want of a permission"),
      ],
      run: { try ApplyCommand.run($0, $1, declarations) }
    ),
    CommandDefinition(
      name: "list",
      synopsis: ["list [--stats] [TARGET...]"],
      summary: "show mappings, reservations and addresses",
      details: [target],
      options: [
        OptionDefinition(
          name: "--stats",
          help: "what has gone through each mapping: connections, bytes, failures"
        )
      ],
      example: ("portmap list 8080", "shows the mapping of port 8080"),
      statuses: [done, (.failed, "failed"), usage, notPermitted, nowhere],
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
        into("the backends are addresses"), proxyProtocol,
        OptionDefinition(
          name: "--udp-timeout",
          value: "SECONDS",
          help: "the time after which an idle udp client is forgotten (default: 90)"
        ),
      ],
      example: ("portmap proxy 8080 192.0.2.7:80", "forwards port 8080 until Ctrl-C"),
      statuses: [done, (.failed, "failed"), usage, (.conflict, "a port is taken"), notPermitted],
      run: ProxyCommand.run
    ),
    CommandDefinition(
      name: "check",
      synopsis: ["check [--probe] [TARGET...]"],
      summary: "compare rules, sockets and processes with what they should be",
      details: [target],
      options: [
        OptionDefinition(
          name: "--probe",
          help: "ask every backend, too: is there a route, a neighbour, and does the port answer"
        )
      ],
      example: ("portmap check || portmap repair", "mends what is not as it should be"),
      statuses: [
        done, (.failed, "there is a difference, or check failed"), usage, notPermitted, nowhere,
      ],
      run: CheckCommand.run
    ),
    CommandDefinition(
      name: "repair",
      synopsis: ["repair [-n]"],
      summary: "put back what is missing, delete what belongs to no mapping",
      options: [dryRun],
      example: ("portmap repair -n", "shows what repair would do"),
      statuses: [done, (.failed, "something could not be mended; the rest was done"), usage, notPermitted],
      run: RepairCommand.run
    ),
  ]

  /// The hidden command of `apply --watch`.
  static let pass = CommandDefinition(
    name: PassJob.command,
    synopsis: [],
    summary: "",
    options: [
      OptionDefinition(name: PassJob.sparing, value: "ID", isRepeatable: true, help: ""),
      OptionDefinition(name: PassJob.expecting, help: ""),
    ],
    example: ("", ""),
    statuses: [],
    run: { try PassCommand.run($0, $1, declarations) }
  )

  /// What a line of an applied file can be.
  static var declarations: DeclarationGrammar {
    let commands = commands.filter { ["map", "alloc"].contains($0.name) }
    return DeclarationGrammar(
      options: Dictionary(uniqueKeysWithValues: commands.map { ($0.name, $0.allOptions) })
    )
  }

  static func command(_ name: String) -> CommandDefinition? { commands.first { $0.name == name } }
}
