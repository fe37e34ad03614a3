import CLinux
import Glibc

/// A program that was run to its end.
struct ProgramResult {
  /// Its exit status, or 128 and the signal that ended it.
  let status: Int32
  let stdout: [UInt8]
  let stderr: [UInt8]

  var text: String { String(decoding: stdout, as: UTF8.self) }
}

/// A program that could not be run, or did not do what it was run for.
enum ProgramError: Error {
  case notFound(String)
  case notStarted(String, reason: String)
  /// It ran for longer than the limit and was killed.
  case timedOut(String, seconds: Int)
  case failed(String, status: Int32, stderr: String)
}

/// Runs the programs that portmap drives, each to its end, through Foundation's Process.
///
/// Their output goes to files in memory, not through pipes: they may print megabytes, and something that they leave
/// running cannot keep the caller waiting.
final class ProgramRunner {
  /// Each program gets this long before it is killed.
  static let secondsAllowed = 10

  private let environment: [String: String]
  /// Called with each command before it runs.
  private let echo: (_ command: String) -> Void

  init(environment: [String: String], echo: @escaping (_ command: String) -> Void = { _ in }) {
    self.environment = environment.merging(["LC_ALL": "C"]) { $1 }
    self.echo = echo
  }

  /// Whether a program of this name is on the path.
  func has(_ program: String) -> Bool { path(of: program) != nil }

  /// Where a program of this name is found; nil where it is not.
  func path(of program: String) -> String? { Programs.find(program, environment) }

  /// Runs a program that must exit with 0.
  ///
  /// - Parameters:
  ///   - text: What it finds in a file whose name is its last argument.
  ///   - input: Its standard input, /dev/null without one.
  /// - Throws: ProgramError.
  @discardableResult
  func run(
    _ program: String,
    _ arguments: [String],
    text: String? = nil,
    input: Descriptor? = nil
  ) throws -> ProgramResult {
    try checked(program, start(program, arguments, text: text, input: input).finish())
  }

  /// Runs a program whose exit status is the caller's business. It finds `text` in a file whose name is its last
  /// argument.
  func run(
    unchecked program: String,
    _ arguments: [String],
    text: String,
    input: Descriptor?
  ) throws -> ProgramResult {
    try start(program, arguments, text: text, input: input).finish()
  }

  /// Waits for programs that run at the same time.
  ///
  /// - Returns: What became of each, in their order.
  func finish(_ programs: [(name: String, program: RunningProgram)]) -> [Result<ProgramResult, any Error>] {
    programs.map { name, program in
      Result { try checked(name, program.finish()) }
    }
  }

  /// Starts a program, which finds `text`, where there is one, in a file whose name is its last argument.
  func start(
    _ program: String,
    _ arguments: [String],
    text: String?,
    input: Descriptor?
  ) throws -> RunningProgram {
    guard let path = path(of: program) else { throw ProgramError.notFound(program) }
    echo(Self.shown(program, arguments, text))
    guard let text else {
      return try RunningProgram(program, path: path, arguments, environment, input: input, text: nil)
    }
    let file = try Descriptor("memfd_create") { clinux_memory_file("text") }
    try Files.write(text, to: file)
    // The program opens the file by way of its parent's descriptor.
    let name = "/proc/\(getpid())/fd/\(file.raw)"
    return try RunningProgram(program, path: path, arguments + [name], environment, input: input, text: file)
  }

  /// A command as a person could paste it into a shell, the text that it reads included.
  static func shown(_ program: String, _ arguments: [String], _ text: String?) -> String {
    let command = ([program] + arguments).joined(separator: " ")
    return text.map { "\(command) <<'EOF'\n\($0)EOF" } ?? command
  }

  private func checked(_ program: String, _ result: ProgramResult) throws -> ProgramResult {
    guard result.status == 0 else {
      throw ProgramError.failed(program, status: result.status, stderr: Self.end(of: result.stderr))
    }
    return result
  }

  /// Returns the last lines of what a program has written, 4096 bytes at most: why it failed stands at the end. Of one
  /// line that is longer it is the end of that line.
  static func end(of bytes: [UInt8]) -> String {
    let lineFeed = UInt8(ascii: "\n")
    let trimmed = bytes[..<(bytes.lastIndex { $0 != lineFeed }.map { $0 + 1 } ?? 0)]
    var end = trimmed.suffix(4096)
    if end.count < trimmed.count, trimmed[end.startIndex - 1] != lineFeed {
      // The first line begins further back. A character that is cut in two goes as well.
      end = end.firstIndex(of: lineFeed).map { end[($0 + 1)...] } ?? end.drop { $0 & 0xC0 == 0x80 }
    }
    return String(decoding: end, as: UTF8.self)
  }
}
