import CLinux
import Glibc

/// The kernel's rules, by way of iptables-restore and iptables-save and their IPv6 twins.
///
/// Each program gets the namespace's lock as its standard input: the lock is free only when the program has ended too,
/// even where portmap was killed while it ran. The rules are in a file in memory that the program opens through /proc;
/// with portmap gone that file is gone, and nothing happens.
struct Firewall {
  let runner: ProgramRunner
  let lock: Descriptor?

  /// The part of the programs' names that tells the variant: `legacy-` or `nft-`, or nothing for whichever `iptables`
  /// is.
  private var variantWord = ""

  init(runner: ProgramRunner, lock: Descriptor?) {
    self.runner = runner
    self.lock = lock
  }

  /// Returns the firewall that one variant of iptables sees, whichever `iptables` is.
  func of(variant: String) -> Firewall {
    var firewall = self
    firewall.variantWord = variant == "legacy" ? "legacy-" : "nft-"
    return firewall
  }

  func program(_ family: IPAddress.Family, _ verb: String) -> String {
    (family == .v4 ? "iptables-" : "ip6tables-") + variantWord + verb
  }

  static let restoreOptions = ["--wait", "--noflush"]

  /// Tells whether rules can be made for a family at all: the kernel knows it and the programs are there. IPv4 always
  /// counts; what it lacks is an error when it is used.
  func serves(_ family: IPAddress.Family) -> Bool {
    family == .v4
      || (access("/proc/sys/net/ipv6", F_OK) == 0 && runner.has(program(.v6, "restore"))
        && runner.has(program(.v6, "save")))
  }

  /// Whether there is an iptables at all.
  var isInstalled: Bool { runner.has(program(.v4, "restore")) && runner.has(program(.v4, "save")) }

  /// Returns the variant that `iptables` is here, `nf_tables` or `legacy`: by the name of the program behind the links
  /// where it says so, otherwise by what that program says itself.
  func variant() throws -> String {
    let program = program(.v4, "restore")
    if let path = runner.path(of: program), let real = realpath(path, nil) {
      defer { free(real) }
      let name = String(cString: real)
      if name.hasSuffix("/xtables-nft-multi") { return "nf_tables" }
      if name.hasSuffix("/xtables-legacy-multi") { return "legacy" }
    }
    return try runner.run(program, ["--version"]).text.contains("nf_tables") ? "nf_tables" : "legacy"
  }

  /// Adds everything of a change, one transaction a family and table.
  func install(_ change: RuleChange) throws {
    try restore(change.families.map { ($0, change.installText($0)) }).forEach { _ = try $0.get() }
  }

  /// Takes everything of a change away, as far as it exists. It tries all families.
  ///
  /// - Returns: The families for which that failed, with the reasons.
  func remove(_ change: RuleChange) -> [(family: IPAddress.Family, error: any Error)] {
    let results = restore(change.families.map { ($0, change.removeText($0)) })
    var failures: [(IPAddress.Family, any Error)] = []
    for (family, result) in zip(change.families, results) {
      do {
        do {
          _ = try result.get()
        } catch ProgramError.failed {
          // Something is gone already, or there twice: only what is there can be taken away.
          let part = change.present(in: try saved(family, needing: change.tables(of: family)), family)
          if !part.isEmpty { try restore(family, part.removeText(family)) }
        }
      } catch {
        failures.append((family, error))
      }
    }
    return failures
  }

  /// Reads a family's tables, those that portmap uses.
  ///
  /// - Parameters:
  ///   - needed: The tables in which something of portmap's should stand. Any other that cannot be read counts as empty:
  ///     not every kernel has them all.
  ///   - counters: Whether to read what rules have counted, too.
  func saved(
    _ family: IPAddress.Family,
    needing needed: Set<Rule.Table>,
    counters: Bool = false
  ) throws -> SavedRules {
    let options = (counters ? ["--counters"] : []) + ["-t"]
    var text = ""
    for table in Rule.Table.allCases {
      do {
        text += try runner.run(program(family, "save"), options + [table.rawValue], input: lock).text
      } catch ProgramError.failed where !needed.contains(table) {
        continue
      }
    }
    return SavedRules(text)
  }

  /// Starts `iptables -S` of a chain of others, for each family for which it can be run.
  func startPrinting(_ table: Rule.Table, _ chain: String) -> [(family: IPAddress.Family, RunningProgram)] {
    IPAddress.Family.allCases.filter(serves).compactMap { family in
      let name = family == .v4 ? "iptables" : "ip6tables"
      let arguments = ["--wait", "-t", table.rawValue, "-S", chain]
      guard let program = try? runner.start(name, arguments, text: nil, input: lock) else { return nil }
      return (family, program)
    }
  }

  /// Returns the command for `restore` as a person could paste it.
  func shown(_ family: IPAddress.Family, _ text: String) -> String {
    ProgramRunner.shown(program(family, "restore"), Self.restoreOptions, text)
  }

  /// Hands text to iptables-restore, if there is any.
  func restore(_ family: IPAddress.Family, _ text: String) throws {
    guard !text.isEmpty else { return }
    try runner.run(program(family, "restore"), Self.restoreOptions, text: text, input: lock)
  }

  /// Hands each family's text to its iptables-restore, side by side: a deletion spends its time waiting in the kernel.
  private func restore(_ texts: [(IPAddress.Family, String)]) -> [Result<ProgramResult, any Error>] {
    let started = texts.map { family, text in
      let name = program(family, "restore")
      return Result {
        (name, try runner.start(name, Self.restoreOptions, text: text, input: lock))
      }
    }
    return started.map { program in
      program.flatMap { runner.finish([$0])[0] }
    }
  }
}
