import Foundation

/// What every command is given besides its own options.
struct Context {
  let environment: [String: String]
  let statePath: String
  let json: Bool
  let quiet: Bool
  let dryRun: Bool
  let runner: ProgramRunner

  /// Says something that is no result.
  let say: (String) -> Void

  init(_ arguments: ParsedArguments, environment: [String: String]) throws(Failure) {
    self.environment = environment
    let folder = arguments.value("--state-dir")
    if folder == "" { throw .usage("option --state-dir needs a folder") }
    statePath = StateFolder.path(option: folder, environment)
    json = arguments.has("--json")
    quiet = arguments.has("--quiet")
    dryRun = arguments.has("--dry-run")
    say = Output.say
    let verbose = arguments.has("--verbose")
    runner = ProgramRunner(environment: environment) { command in
      guard verbose else { return }
      let text = Array("[#] \(command)\n".utf8)
      _ = Glibc.write(2, text, text.count)
    }
  }

  /// A variable of the environment; an empty one counts as unset.
  func variable(_ name: String) -> String? {
    environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }
}
