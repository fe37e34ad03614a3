/// The search for the word that somebody who mistyped may have meant.
enum Spelling {
  /// Returns the candidate that takes the fewest changes to reach: two at most, and fewer than it has letters.
  static func nearest(_ word: String, among candidates: [String]) -> String? {
    nearest(word, candidates) { min(2, $0.count { $0.isLetter } - 1) }
  }

  /// Returns the candidate that takes the fewest changes to reach, no more than `limit`.
  static func nearest(_ word: String, among candidates: [String], within limit: Int) -> String? {
    nearest(word, candidates) { _ in limit }
  }

  private static func nearest(_ word: String, _ candidates: [String], limit: (String) -> Int) -> String? {
    let near = candidates.map { (name: $0, distance: distance(Array(word), Array($0))) }
      .filter { $0.distance <= limit($0.name) }
    return near.min { $0.distance < $1.distance }?.name
  }

  /// Returns Levenshtein's distance.
  private static func distance(_ left: [Character], _ right: [Character]) -> Int {
    var previous = Array(0...right.count)
    for (row, character) in left.enumerated() {
      var current = [row + 1]
      for (column, other) in right.enumerated() {
        let replaced = previous[column] + (character == other ? 0 : 1)
        current.append(min(replaced, previous[column + 1] + 1, current[column] + 1))
      }
      previous = current
    }
    return previous[right.count]
  }
}
