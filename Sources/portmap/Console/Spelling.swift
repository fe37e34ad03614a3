/// The search for the word that somebody who mistyped may have meant.
enum Spelling {
  /// Returns the candidate that takes the fewest changes to reach: two at most, and fewer than it has letters.
  static func nearest(_ word: String, among candidates: [String]) -> String? {
    let near = candidates.map { (name: $0, distance: distance(Array(word), Array($0))) }
      .filter { near in near.distance <= min(2, near.name.count { $0.isLetter } - 1) }
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
