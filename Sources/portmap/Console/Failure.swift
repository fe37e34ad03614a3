import Glibc

/// The ways in which a run of portmap ends; scripts rely on the numbers.
enum ExitStatus: Int32 {
  case success = 0
  case failed = 1
  case usage = 2
  case conflict = 3
  case notPermitted = 4
  case nothingMatched = 5
  /// With `-- CMD`, where the other statuses are CMD's, a failure of portmap's own, as with `env` and `timeout`.
  case besideCommand = 125
  case commandNotRun = 126
  case commandNotFound = 127
}

/// The end of a command that failed: a message for the person and a status for the shell.
struct Failure: Error {
  private(set) var status: ExitStatus
  /// Printable text. It has line breaks only between the lines of a program that it quotes.
  private(set) var message: String
  private(set) var hint: String?

  /// - Parameters:
  ///   - quoted: The lines that a program has written about its failure.
  ///   - hint: Tells what to do.
  init(_ status: ExitStatus, _ message: String, quoting quoted: [String] = [], hint: String? = nil) {
    let quotation = quoted.map { $0.printable() }.joined(separator: "\n  ")
    self.status = status
    self.message = message.printable() + (quotation.isEmpty ? "" : ": \(quotation)")
    self.hint = hint?.printable()
  }

  /// A mistake in the call.
  static func usage(_ message: String, hint: String? = nil) -> Failure {
    Failure(.usage, message, hint: hint)
  }

  /// Runs `body` and puts what it throws into words; a signal's arrival passes as it is.
  static func wrapping<Result>(_ task: String, _ body: () throws -> Result) throws -> Result {
    do {
      return try body()
    } catch let interruption as Interruption {
      throw interruption
    } catch let command as CommandEnded {
      throw command
    } catch {
      throw Failure(error, doing: task)
    }
  }

  /// The same failure with the status that it has where a command was to be run: scripts have to tell portmap's own
  /// failures from the command's.
  var besideCommand: Failure {
    var failure = self
    if ![.usage, .commandNotRun, .commandNotFound].contains(status) { failure.status = .besideCommand }
    return failure
  }

  /// The same failure with the place that it is about in front of it.
  func at(_ place: Origin) -> Failure {
    var failure = self
    failure.message = "\(place): ".printable() + message
    return failure
  }

  /// The same failure without what to do about it.
  var withoutHint: Failure {
    var failure = self
    failure.hint = nil
    return failure
  }

  /// The same failure with more to do about it.
  func adding(hint: String?) -> Failure {
    var failure = self
    let hints = [failure.hint, hint?.printable()].compactMap { $0 }
    failure.hint = hints.isEmpty ? nil : hints.joined(separator: "; ")
    return failure
  }

  /// Puts any error into words.
  ///
  /// - Parameter task: The thing that could not be done because of it: `map 8080/udp`.
  init(_ error: any Error, doing task: String) {
    let cannot = "cannot \(task)"
    switch error {
    case let failure as Failure: self = failure
    case let error as SpecError: self = .usage(error.message)
    case let error as AllocationError: self.init(error, task)
    case let error as ProgramError: self.init(error, cannot)
    case let error as NetworkError: self.init(error, cannot)
    case let error as SystemError:
      let permission = error.errno == EPERM || error.errno == EACCES
      self.init(permission ? .notPermitted : .failed, "\(cannot): \(error)")
    case let error as NamespaceError: self.init(error, cannot)
    case let error as StateError:
      self.init(
        error.isPermission ? .notPermitted : .failed,
        "\(cannot): \(error.path): \(error.problem)",
        hint: error.hint
      )
    case let error as HolderError:
      self.init(.failed, "\(cannot): background process \(error.id): \(error.problem)")
    case let error as CommandError:
      let reason = SystemError(call: "exec", errno: error.errno).reason
      self.init(
        error.errno == ENOENT ? .commandNotFound : .commandNotRun,
        "cannot run '\(error.command)': \(reason)"
      )
    case let error as DescriptorLimitError:
      self.init(
        .failed,
        "\(cannot): that needs \(error.needed) open files, and the limit is \(error.hardLimit)",
        hint: "raise it with ulimit -Hn \(error.needed)"
      )
    case let error as OperationError: self.init(error, cannot)
    case let error as DeclarationFileError:
      self.init(error.isPermission ? .notPermitted : .failed, "\(cannot): \(error.path): \(error.problem)")
    case let error as DeclarationMistake: self = .usage("\(error.origin): \(error.problem)")
    default: self.init(.failed, "\(cannot): \(error)")
    }
  }

  /// Names the port instead of the specs: of the task only the verb stays.
  private init(_ error: AllocationError, _ task: String) {
    let cannot = "cannot \(task.prefix { $0 != " " })"
    switch error {
    case .given(let port, let owner):
      self.init(.conflict, "\(cannot) \(port): \(Self.words(for: owner))")
    case .lent(let port):
      self.init(
        .conflict,
        "\(cannot) \(port): another portmap has lent it, with another state folder or as another user"
      )
    case .inUse(let port, let transport, let number):
      let owner = PortUser.find(transport, number)
      self.init(
        .conflict,
        "\(cannot) \(port): address already in use",
        hint: owner.map { "\($0) has it; another port may be free: 0 allocates one" }
      )
    case .noneFree(let range, let width, let transports):
      let names = transports.map(\.rawValue).joined(separator: "+")
      let what = width == 1 ? "no free \(names) port" : "no \(width) free consecutive \(names) ports"
      self.init(.conflict, "cannot \(task): \(what) in \(range)")
    case .lost(let port, let transport, let number, let error):
      let owner = error.errno == EADDRINUSE ? PortUser.find(transport, number) : nil
      self.init(.failed, "cannot hold \(port) again: \(owner.map { "\($0) has it now" } ?? error.reason)")
    case .system(let port, let error):
      switch error.errno {
      case EACCES, EPERM:
        self.init(
          .notPermitted,
          "\(cannot) \(port): \(error.reason)",
          hint: "ports below net.ipv4.ip_unprivileged_port_start need root"
        )
      case EADDRNOTAVAIL:
        self.init(.failed, "\(cannot) \(port): this host has no such address")
      case EPROTONOSUPPORT, ESOCKTNOSUPPORT:
        self.init(.failed, "\(cannot) \(port): this kernel has no SCTP sockets", hint: "modprobe sctp")
      case EMFILE, ENFILE:
        self.init(.failed, "\(cannot) \(port): \(error.reason)", hint: "raise the limit with ulimit -n")
      default:
        self.init(.failed, "\(cannot) \(port): \(error.reason)")
      }
    }
  }

  private static func words(for owner: Holding) -> String {
    switch owner {
    case .mapping(let mapping): "already mapped as \(mapping), id \(mapping.id)"
    case .reservation(let reservation):
      "already reserved as \(reservation), id \(reservation.id)"
        + (reservation.scope.map { ", for as long as process \($0.pid) runs" } ?? "")
    }
  }

  private init(_ error: ProgramError, _ cannot: String) {
    switch error {
    case .notFound(let program):
      self.init(
        .failed,
        "\(cannot): command not found: \(program)",
        hint: "install it, or add its folder to PATH"
      )
    case .notStarted(let program, let reason): self.init(.failed, "\(cannot): \(program): \(reason)")
    case .timedOut(let program, let seconds):
      self.init(.failed, "\(cannot): \(program) did not end within \(seconds) seconds and was killed")
    case .failed(let program, let status, let stderr):
      self.init(
        .failed,
        "\(cannot): \(program) failed with status \(status)",
        quoting: stderr.unicodeScalars.split { $0 == "\n" }.map { String($0) }
      )
    }
  }

  private init(_ error: OperationError, _ cannot: String) {
    switch error {
    case .notPermitted(.rules):
      self.init(
        .notPermitted,
        "mapping with rules needs CAP_NET_ADMIN",
        hint: "run it as root, or use --proxy-only with --to, which touches no rule"
      )
    case .notPermitted(.addresses):
      self.init(.notPermitted, "an address of a bridge network needs CAP_NET_ADMIN", hint: "run it as root")
    case .nameTaken(let name, let address):
      self.init(.conflict, "the name '\(name)' is \(address)'s already")
    case .noFreeAddress(let bridge, let subnet):
      self.init(.conflict, "all addresses of \(bridge) (\(subnet.networkDescription)) are taken")
    case .otherSubnet(let bridge, let subnet, let wanted):
      self.init(.failed, "bridge \(bridge) has the network \(subnet.networkDescription), not \(wanted)")
    case .unknownBackend(let name):
      self.init(
        .failed,
        "'\(name)' is neither an allocated address nor a network namespace",
        hint: name == "localhost"
          ? "host names are not looked up: --to 127.0.0.1"
          : "portmap list shows the addresses, ip netns the namespaces; host names are not looked up"
      )
    case .namespaceWithoutAddress(let name):
      self.init(
        .failed,
        "network namespace \(name) has no address",
        hint: "portmap alloc --netns \(name) gives it one"
      )
    case .backendIsHost(let address):
      self.init(
        .failed,
        "\(address) is this host's own address, not a backend's",
        hint: "a service of the host itself is reached with --to 127.0.0.1 or --proxy-only"
      )
    case .backendIsNetwork(let address, let subnet):
      self.init(
        .failed,
        "\(address) is no backend's address: it means the whole of \(subnet.networkDescription)"
      )
    case .noHostAddress(let address): self.init(.failed, "\(address) is no address of this host")
    case .ownBackend(let address, let ports):
      self = .usage("\(address) port \(ports) would be its own backend")
    case .needsProxy(let host, let backend):
      self = .usage(
        "\(host) and \(backend) are of different families: that needs the proxy, which --no-proxy leaves out"
      )
    case .noIPv6Rules(let address):
      self.init(.failed, "\(address): this host cannot make rules for IPv6 (ip6tables-restore)")
    case .variantChanged(let from, let to):
      self.init(
        .failed,
        "\(cannot): the rules that exist were made with iptables (\(from)), but iptables is now (\(to))",
        hint: "switch iptables back, or move the rules with portmap repair"
      )
    }
  }

  private init(_ error: NamespaceError, _ cannot: String) {
    let hint: String? =
      switch error.problem {
      case .missing where !error.name.isPath: "ip netns list shows those that are there"
      case .own: "leave out --into"
      case .notPermitted:
        "root may enter every namespace, a user those of the user's own user namespaces"
          + " (rootless containers, unshare -rn)"
      default: nil
      }
    let status: ExitStatus = error.problem == .notPermitted ? .notPermitted : .failed
    self.init(status, "\(cannot): \(error.reason)", hint: hint)
  }

  private init(_ error: NetworkError, _ cannot: String) {
    switch error {
    case .noSuchBridge(let name):
      self.init(
        .failed,
        "\(cannot): there is no bridge \(name)",
        hint: "only portmap0 is made when it is needed; others must be there"
      )
    case .notABridge(let name): self.init(.failed, "\(cannot): \(name) is not a bridge")
    case .bridgeWithoutIPv4(let name): self.init(.failed, "\(cannot): bridge \(name) has no IPv4 address")
    case .noSuchNamespace(let name):
      self.init(
        .failed,
        "\(cannot): there is no network namespace \(name)",
        hint: "ip netns list shows those that are there"
      )
    case .ownNamespace(let name):
      self.init(.failed, "\(cannot): \(name) is the network namespace that portmap itself is in")
    case .noFreeNetwork:
      self.init(
        .conflict,
        "\(cannot): each of the networks that portmap has for a bridge overlaps a route",
        hint: "name another one with --subnet"
      )
    case .subnetTaken(let subnet, let network):
      self.init(
        .conflict,
        "\(cannot): \(subnet.networkDescription) is the network of an interface (\(network)), or contains it"
      )
    case .unreadable(let command):
      self.init(
        .failed,
        "\(cannot): '\(command)' did not print the JSON that was expected",
        hint: "portmap needs the ip of iproute2"
      )
    }
  }
}

extension SpecError {
  /// Quotes the spec and says what was expected.
  var message: String { "invalid spec '\(text)': expected \(expected)" }
}

extension NamespaceError {
  /// What is the matter with it, in words.
  var reason: String {
    switch problem {
    case .missing: name.isPath ? "there is no file \(name)" : "there is no network namespace \(name)"
    case .noProcess: "there is no process \(name)"
    case .notANamespace: "\(name) is no network namespace"
    case .own: "\(name) is the network namespace that portmap itself is in"
    case .notPermitted: "the network namespace \(name) may not be entered"
    case .failed(let error): "the network namespace \(name) cannot be entered: \(error.reason)"
    }
  }
}
