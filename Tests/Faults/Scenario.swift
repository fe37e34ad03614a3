/// A command that is killed on the way, what was there before it, and the two states that may come of it.
struct Scenario {
  let name: String
  /// The commands of portmap that lead to the state before.
  let before: [[String]]
  let command: [String]
  /// Whether the quick form runs it too.
  var isQuick = false

  static let all = [
    Scenario(
      name: "map",
      before: [],
      command: ["map", "8080:80/tcp+udp", "--to", "10.99.0.2"],
      isQuick: true
    ),
    Scenario(
      name: "unmap",
      before: [["map", "8080:80/tcp+udp", "--to", "10.99.0.2"]],
      command: ["unmap", "8080/tcp+udp"],
      isQuick: true
    ),
    Scenario(name: "alloc", before: [], command: ["alloc", "9000", "9001/udp"], isQuick: true),
    Scenario(
      name: "unmap-reserved",
      before: [["alloc", "9000", "9001/udp"]],
      command: ["unmap", "9000", "9001/udp"]
    ),
    Scenario(
      name: "map-reserved",
      before: [["alloc", "9000", "9001"]],
      command: ["map", "9000:80", "--to", "10.99.0.2"]
    ),
    Scenario(
      name: "unmap-one-of-two",
      before: [["map", "8080:80", "8081:81", "--to", "10.99.0.2"]],
      command: ["unmap", "8080"]
    ),
    Scenario(
      name: "map-into",
      before: [["alloc", "9000"]],
      command: ["map", "--into", "guest", "9000:80/tcp+udp"]
    ),
    Scenario(name: "alloc-netns", before: [], command: ["alloc", "--netns", "guest"]),
    Scenario(name: "unmap-all", before: [["alloc", "--netns", "guest"]], command: ["unmap", "--all"]),
    Scenario(
      name: "map-command",
      before: [],
      command: ["map", "8080:80", "--to", "10.99.0.2", "--", "true"]
    ),
    Scenario(name: "alloc-command", before: [], command: ["alloc", "9000", "--", "true"]),
  ]
}
