/// Near misses.
enum Spelling {
  /// The candidate that takes the fewest changes of a letter to reach, two at most and fewer than it has letters.
  static func nearest(_ word: String, among candidates: [String]) -> String? {
    let near = candidates.map { (name: $0, distance: distance(Array(word), Array($0))) }
      .filter { $0.distance <= min(2, $0.name.count - 1) }
    return near.min { $0.distance < $1.distance }?.name
  }

  /// Levenshtein's distance.
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
