import Foundation
import Testing

/// Waits until a condition holds, and stops the test when it does not in time.
///
/// - Parameter what: What is waited for, as the failure names it.
func eventually(
  _ what: Comment,
  within seconds: Double = 10,
  at location: SourceLocation = #_sourceLocation,
  _ holds: () throws -> Bool
) throws {
  let deadline = Date() + seconds
  while try !holds() {
    try #require(Date() < deadline, what, sourceLocation: location)
    usleep(10_000)
  }
}
