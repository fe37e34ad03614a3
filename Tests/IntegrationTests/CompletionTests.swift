import Foundation
import Testing

/// The completions in the real shells: what they offer is what the help explains and what is there.
@Suite struct CompletionTests {
  enum Shell: String, CaseIterable {
    case bash, zsh, fish

    var file: String {
      let name = self == .zsh ? "_portmap" : "portmap.\(rawValue)"
      return Tools.repository.appendingPathComponent("completions/\(name)").path
    }
  }

  /// A namespace with the program on its PATH.
  private struct Desk {
    let portmap: Portmap
    let folder: String

    /// What a shell offers at the end of a line.
    func offers(
      _ shell: Shell,
      _ line: String,
      at location: SourceLocation = #_sourceLocation
    ) throws -> Set<String> {
      let lines = try described(shell, line, at: location)
      return Set(lines.map { $0.split(separator: "\t").first.map(String.init) ?? "" })
    }

    /// The same, in fish with its explanation behind a tab.
    func described(
      _ shell: Shell,
      _ line: String,
      at location: SourceLocation = #_sourceLocation
    ) throws -> [String] {
      let command: [String] =
        switch shell {
        case .bash: ["bash", "--norc", "-c", Self.bashDriver, shell.file] + Self.words(line)
        case .zsh: ["zsh", "-f", "-c", Self.zshDriver, folder, shell.file, line]
        case .fish: ["fish", "--no-config", "-c", Self.fishDriver, shell.file, line]
        }
      let outcome = try portmap.namespace.exec(
        command,
        environment: [
          "PATH": "\(folder):\(Tools.searchPath)", "HOME": folder, "TERM": "xterm",
          "PORTMAP_STATE_DIR": portmap.state,
        ],
        at: location
      )
      return outcome.lines.filter { !$0.isEmpty }
    }

    /// The line as bash would split it: "=" is a word of its own.
    private static func words(_ line: String) -> [String] {
      line.replacing("=", with: " = ").split(separator: " ", omittingEmptySubsequences: false).map(
        String.init
      )
    }

    private static let bashDriver = """
      source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
      _portmap && printf '%s\\n' "${COMPREPLY[@]}"
      """

    private static let fishDriver = "source $argv[1]; complete -C $argv[2]"

    /// zsh completes only where somebody types: in a terminal of its own, with `compadd` listened to.
    private static let zshDriver = """
      zmodload zsh/zpty || exit 1
      cat >$0/setup.zsh <<EOF
      PROMPT=; unsetopt beep; stty -echo rows 200 cols 200
      fpath=(${1:h} \\$fpath); autoload -Uz compinit; compinit -C -u -d $0/zcompdump
      compadd() {
        if [[ " \\$* " != *" -"[OAD]" "* ]]; then
          local -a hits; builtin compadd -O hits "\\$@"
          (( \\$#hits )) && print -rl -- \\$hits >>$0/hits
        fi
        builtin compadd "\\$@"
      }
      note() { zle complete; print >$0/done; zle kill-buffer }
      zle -N note
      zle -C complete complete-word _main_complete
      bindkey '^I' note
      print >$0/ready
      EOF
      rm -f $0/{hits,done,ready}
      await() { repeat 1000; do [[ -e $0/$1 ]] && return; sleep 0.01; done; exit 1 }
      setopt nofunctionargzero
      zpty shell zsh -f -i
      zpty -w shell "source $0/setup.zsh"
      await ready
      zpty -w -n shell "$2"$'\\t'
      await done
      [[ ! -e $0/hits ]] || cat $0/hits
      zpty -d shell
      """
  }

  private func withDesk(_ body: (Desk) throws -> Void) throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let host = try Namespace("h", cleanup)
    let portmap = Portmap(host, state: folder + "/state", cleanup)
    try FileManager.default.createSymbolicLink(
      atPath: folder + "/portmap",
      withDestinationPath: Tools.portmap
    )
    try body(Desk(portmap: portmap, folder: folder))
  }

  /// The options, long or short, that a help text has a line for.
  private func options(in help: Outcome) -> Set<String> {
    let lines = help.stdout.split(separator: "\n").filter { $0.hasPrefix("  -") }
    return Set(lines.flatMap { $0.matches(of: /(?:^  |, )(--?[a-z-]+)/).map { String($0.output.1) } })
  }

  private func commands(in help: Outcome) -> Set<String> {
    Set(
      help.stdout.split(separator: "\n").compactMap {
        $0.firstMatch(of: #/^  ([a-z]+)  /#).map { String($0.output.1) }
      }
    )
  }

  @Test(arguments: Shell.allCases)
  func commandsAndOptions(_ shell: Shell) throws {
    try withDesk { desk in
      let commands = commands(in: try desk.portmap("--help"))
      #expect(commands.count == 8)
      #expect(try desk.offers(shell, "portmap ").filter { !$0.hasPrefix("-") } == commands)
      let leading = try desk.offers(shell, "portmap -")
      let common = options(in: try desk.portmap("list", "--help"))
        .intersection(options(in: try desk.portmap("check", "--help")))
      #expect(leading == common.union(["--version", "-n", "--dry-run"]))
      for line in ["portmap -q ", "portmap --state-dir /x --json "] {
        #expect(try desk.offers(shell, line).filter { !$0.hasPrefix("-") } == commands, "\(line)")
      }
      for command in commands {
        let known = options(in: try desk.portmap(command, "--help"))
        #expect(known.contains("--json") && known.contains("-q"))
        #expect(try desk.offers(shell, "portmap \(command) -") == known, "\(command)")
        #expect(try desk.offers(shell, "portmap -qv --state-dir /x \(command) -") == known, "\(command)")
        let long = known.filter { $0.hasPrefix("--") }
        #expect(try desk.offers(shell, "portmap \(command) --") == long, "\(command)")
      }
    }
  }

  @Test(arguments: Shell.allCases)
  func values(_ shell: Shell) throws {
    try withDesk { desk in
      let host = desk.portmap.namespace
      try host.ip("link", "add", "br7", "type", "bridge")
      try host.ip("addr", "add", "10.77.0.1/24", "dev", "br7")
      try host.ip("link", "set", "br7", "up")
      try desk.portmap("alloc", "--ip", "--name", "web", "--bridge", "br7")
      try desk.portmap("map", "--proxy-only", "8080:80", "--to", "web")
      let port = try desk.portmap("list", "-q").lines.first { $0 != "web" }
      let backends = try desk.offers(shell, "portmap map 80 --to ")
      #expect(backends.isSuperset(of: ["web", host.name]) && !backends.contains(port ?? ""), "\(backends)")
      #expect(
        try desk.offers(shell, "portmap map 80 --to=w").map { $0.replacing("--to=", with: "") } == ["web"]
      )
      #expect(try desk.offers(shell, "portmap alloc --ip --bridge ") == ["br7"])
      #expect(try desk.offers(shell, "portmap alloc --netns ").contains(host.name))
      #expect(try desk.offers(shell, "portmap map 80 --host-ip ").contains("10.77.0.1"))
      #expect(try desk.offers(shell, "portmap proxy --proxy-protocol ") == ["v1", "v2"])
      #expect(try desk.offers(shell, "portmap map 80 --range ").isEmpty)
      for command in ["unmap", "list", "check"] {
        #expect(try desk.offers(shell, "portmap \(command) ") == [port ?? "", "web", "8080"])
        #expect(try desk.offers(shell, "portmap \(command) --state-dir \(desk.folder)/none ").isEmpty)
        #expect(try desk.offers(shell, "portmap --state-dir \(desk.folder)/none \(command) ").isEmpty)
        let named = try desk.offers(shell, "portmap -q --state-dir \(desk.portmap.state) \(command) ")
        #expect(named == [port ?? "", "web", "8080"])
      }
      if shell == .fish {
        #expect(
          Set(try desk.described(shell, "portmap unmap "))
            == ["web\t10.77.0.2", "\(port ?? "")\t8080->10.77.0.2:80", "8080\t8080->10.77.0.2:80"]
        )
      }
      // Ports as they are given to unmap, with their protocols.
      try desk.portmap("map", "--proxy-only", "53-54:53-54/udp", "127.0.0.1:9090:90", "--to", "10.77.0.2")
      try desk.portmap("alloc", "9000", "9001/udp")
      let targets = try desk.offers(shell, "portmap unmap ")
      #expect(targets.isSuperset(of: ["8080", "53-54/udp", "9000", "9001/udp"]), "\(targets)")
      #expect(targets.count == 4 + 6, "\(targets)")
      try desk.portmap("unmap", "--all")
    }
  }

  @Test(arguments: Shell.allCases)
  func commandBehindDashes(_ shell: Shell) throws {
    try withDesk { desk in
      let offers = try desk.offers(shell, "portmap alloc 8080 -- sysct")
      #expect(offers.contains("sysctl"), "\(offers)")
      #expect(try desk.offers(shell, "portmap -q alloc 8080 -- sysct") == offers)
      let files = try desk.offers(shell, "portmap map 80 --to web -- cat /etc/passw")
      #expect(files.contains { $0.hasSuffix("passwd") }, "\(files)")
    }
  }
}
