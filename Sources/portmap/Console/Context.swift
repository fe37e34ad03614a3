import Foundation

/// The options and surroundings that all commands have in common.
struct Context {
  let environment: [String: String]
  let statePath: String
  let json: Bool
  let quiet: Bool
  let dryRun: Bool
  let runner: ProgramRunner

  /// Says something on stderr that is no result.
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
      if verbose { Output.writeError("[#] \(command)\n") }
    }
  }

  /// Returns a variable of the environment; an empty one counts as unset.
  func variable(_ name: String) -> String? {
    environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }
}
