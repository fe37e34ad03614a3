import Foundation

/// What every command is given besides its own options.
struct Context {
  let environment: [String: String]
  let json: Bool
  let quiet: Bool
  let setting: Setting

  init(_ arguments: ParsedArguments, environment: [String: String]) throws(Failure) {
    self.environment = environment
    let folder = arguments.value("--state-dir")
    if folder == "" { throw .usage("option --state-dir needs a folder") }
    json = arguments.has("--json")
    quiet = arguments.has("--quiet")
    let verbose = arguments.has("--verbose")
    let runner = ProgramRunner(environment: environment) { command in
      guard verbose else { return }
      let text = Array("[#] \(command)\n".utf8)
      _ = Glibc.write(2, text, text.count)
    }
    setting = Setting(
      statePath: StateFolder.path(option: folder, environment),
      runner: runner,
      isDryRun: arguments.has("--dry-run"),
      notify: { Output.say($0.description) }
    )
  }

  var dryRun: Bool { setting.isDryRun }

  /// Says something that is no result.
  func say(_ message: String) { Output.say(message) }

  /// A variable of the environment; an empty one counts as unset.
  func variable(_ name: String) -> String? {
    environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }
}
