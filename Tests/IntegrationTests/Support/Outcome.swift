import Foundation
import Testing

/// How a program ended.
struct Outcome: CustomStringConvertible {
  let command: String
  /// The exit status, 128+N when signal N ended it, -1 when it did not end in time.
  let status: Int32
  let stdout: String
  let stderr: String
  /// Whether a process that outlives the program holds its stdout or stderr.
  let keptOpen: Bool

  /// The lines of stdout.
  var lines: [String] { stdout.split(separator: "\n").map { String($0) } }

  var description: String {
    let end = status == -1 ? "did not end in time" : "ended with \(status)"
    return "`\(command)` \(end); stdout: \(stdout.debugDescription), stderr: \(stderr.debugDescription)"
  }

  /// Stops the test unless the status is the expected one.
  @discardableResult
  func expecting(_ status: Int32?, at location: SourceLocation = #_sourceLocation) throws -> Outcome {
    guard let status else { return self }
    try #require(self.status == status, "expected \(status): \(self)", sourceLocation: location)
    return self
  }

  /// Reads stdout as one JSON document.
  func json<Document: Decodable>(_ type: Document.Type = Document.self) throws -> Document {
    try JSONDecoder().decode(type, from: Data(stdout.utf8))
  }
}

/// Runs a program to its end.
@discardableResult
func run(
  _ arguments: [String],
  environment: [String: String] = [:],
  status: Int32? = 0,
  timeout: Double = 20,
  at location: SourceLocation = #_sourceLocation
) throws -> Outcome {
  try ChildProcess(arguments, environment: environment).wait(timeout: timeout).expecting(status, at: location)
}
