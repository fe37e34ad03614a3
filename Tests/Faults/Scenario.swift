import Foundation

/// A command that is killed on the way, what was there before it, and the two states that may come of it.
struct Scenario {
  let name: String
  /// The commands of portmap that lead to the state before. `ADD` and `DEL` are the plugin's.
  let before: [[String]]
  let command: [String]
  /// Whether the quick form runs it too.
  var isQuick = false
  /// What the file says that is applied: to the commands before, and then to the command.
  var file: (before: String, then: String)?

  static let path = Machine.folder + "/portmap.conf"

  /// Writes the file, if there is one.
  func declare(_ text: KeyPath<(before: String, then: String), String>) throws {
    try file.map { try Data($0[keyPath: text].utf8).write(to: URL(fileURLWithPath: Self.path)) }
  }

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
    Scenario(name: "cni-add", before: [], command: ["ADD"]),
    Scenario(name: "cni-add-again", before: [["ADD", "8081"]], command: ["ADD"]),
    Scenario(name: "cni-del", before: [["ADD"]], command: ["DEL"]),
    Scenario(name: "apply", before: [], command: ["apply", path], file: ("", tenLines)),
    // Backends, kinds and addresses change; a line goes, one comes.
    Scenario(
      name: "apply-changed",
      before: [["apply", path]],
      command: ["apply", path],
      file: (
        tenLines,
        tenLines.replacing("8081:81 --to 10.99.0.2", with: "8081:81 --to 10.99.0.3")
          .replacing("alloc 9000\n", with: "map 9000:90 --to 10.99.0.2\n")
          .replacing("map 8086:86 --to 10.99.0.2", with: "map 10.99.0.1:8086:86 --to 10.99.0.2")
          .replacing("alloc 9001/udp", with: "alloc 9002/udp")
      )
    ),
    Scenario(
      name: "apply-emptied",
      before: [["apply", path]],
      command: ["apply", path],
      file: (tenLines, "")
    ),
  ]

  /// The words that run a command of portmap, or portmap as CNI's plugin: `ADD PORT`.
  static func words(_ portmap: String, _ command: [String]) -> [String] {
    guard let verb = command.first, ["ADD", "DEL"].contains(verb) else { return [portmap] + command }
    let configuration = """
      {"cniVersion": "1.0.0", "name": "net", "runtimeConfig": {"portMappings": [
        {"hostPort": \(command.dropFirst().first ?? "8080"), "containerPort": 80, "protocol": "tcp"}]},
       "prevResult": {"ips": [{"address": "10.99.0.2/24"}]}}
      """
    let variables = [
      "CNI_COMMAND=\(verb)", "CNI_CONTAINERID=c1", "CNI_NETNS=/run/netns/none", "CNI_IFNAME=eth0",
    ]
    return ["env"] + variables + ["sh", "-c", "exec \"$0\" <<.\n\(configuration)\n.", portmap]
  }

  private static let tenLines = """
    alloc --netns guest
    map 8080:80/tcp+udp --to guest
    map 8081:81 --to 10.99.0.2
    map 8082:82 8083:83 --to 10.99.0.2
    map 8084-8085:84-85/udp --to 10.99.0.2
    map 8086:86 --to 10.99.0.2
    map 127.0.0.1:8087:87 --to 10.99.0.2
    alloc 9000
    alloc 9001/udp
    map 8088:88 --to 10.99.0.2 --masquerade

    """
}
