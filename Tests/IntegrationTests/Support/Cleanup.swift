import Foundation
import Testing

/// What has to be undone, last in, first out; one failure does not keep the rest from being undone.
final class Cleanup {
  private var steps: [() throws -> Void] = []

  func add(_ step: @escaping () throws -> Void) {
    steps.append(step)
  }

  /// Undoes everything, unless PORTMAP_TEST_KEEP is set so that a person can look at it.
  func run() {
    if ProcessInfo.processInfo.environment["PORTMAP_TEST_KEEP"] != nil { return }
    while let step = steps.popLast() {
      do {
        try step()
      } catch {
        Issue.record("cleaning up: \(error)")
      }
    }
  }
}
