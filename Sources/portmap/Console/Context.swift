import Foundation

/// The options and surroundings that all commands have in common.
struct Context {
  let environment: [String: String]
  let json: Bool
  let quiet: Bool
  let verbose: Bool
  let setting: Setting

  init(_ arguments: ParsedArguments, environment: [String: String]) throws(Failure) {
    self.environment = environment
    let folder = arguments.value("--state-dir")
    if folder == "" { throw .usage("option --state-dir needs a folder") }
    json = arguments.has("--json")
    quiet = arguments.has("--quiet")
    let verbose = arguments.has("--verbose")
    self.verbose = verbose
    let runner = ProgramRunner(environment: environment) { command in
      if verbose { Output.writeError("[#] \(command)\n") }
    }
    setting = Setting(
      statePath: StatePath(option: folder, environment),
      runner: runner,
      isDryRun: arguments.has("--dry-run"),
      notify: { Output.say($0.description) },
      connects: Setting.connects(environment),
      explain: { if verbose { Output.say($0.description) } }
    )
  }

  var dryRun: Bool { setting.isDryRun }

  /// Says something on stderr that is no result.
  func say(_ message: String) { Output.say(message) }

  /// Returns a variable of the environment; an empty one counts as unset.
  func variable(_ name: String) -> String? {
    environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }
}
