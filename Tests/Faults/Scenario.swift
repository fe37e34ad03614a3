/// A command that is killed on the way, what was there before it, and the two states that may come of it.
struct Scenario {
  let name: String
  /// The commands of portmap that lead to the state before. `ADD` and `DEL` are the plugin's.
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
}
