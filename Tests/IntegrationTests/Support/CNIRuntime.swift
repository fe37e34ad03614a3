import Foundation
import Testing

/// A container runtime of the tests' own: it runs plugins one after the other as CNI's specification says (section 3).
struct CNIRuntime {
  /// The plugins of Debian's containernetworking-plugins, where `make test` has unpacked them.
  static let plugins = Tools.repository.appendingPathComponent(".build/cni/usr/lib/cni").path

  let host: Namespace
  /// Where the program under test is called portmap.
  private let folder: String
  private let state: String
  var version = "1.0.0"
  var network = "net"
  /// The settings of portmap beside its type.
  var settings: [String: Any] = [:]
  /// More of the plugins' environment.
  var environment: [String: String] = [:]
  /// What the plugins are run through.
  var prefix: [String] = []
  /// Whether portmap is the original one.
  var isOriginal = false

  init(_ portmap: Portmap, folder: String) throws {
    host = portmap.namespace
    state = portmap.state
    self.folder = folder + "/cni"
    try run(["mkdir", "-p", self.folder])
    try run(["ln", "-sf", Tools.portmap, self.folder + "/portmap"])
  }

  init(_ topology: Topology) throws { try self.init(topology.portmap, folder: topology.folder) }

  /// The path of a plugin: the program under test, or one of Debian's.
  func path(_ plugin: String) -> String {
    plugin == "portmap" && !isOriginal ? folder + "/portmap" : Self.plugins + "/" + plugin
  }

  /// Runs a plugin with a configuration as it is.
  ///
  /// - Parameter variables: More of its environment, or other than usual; an empty one is left out.
  @discardableResult
  func raw(
    _ command: String,
    _ configuration: String,
    plugin: String = "portmap",
    variables: [String: String] = [:],
    status: Int32? = 0,
    timeout: Double = 20,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let process = try start(command, configuration, plugin: plugin, variables: variables)
    return try process.wait(timeout: timeout).expecting(status, at: location)
  }

  /// Starts a plugin with a configuration as it is.
  func start(
    _ command: String,
    _ configuration: String,
    plugin: String = "portmap",
    variables: [String: String] = [:]
  ) throws -> ChildProcess {
    let file = folder + "/" + UUID().uuidString
    try Data(configuration.utf8).write(to: URL(fileURLWithPath: file))
    let usual = [
      "CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/none", "CNI_IFNAME": "eth0",
      "CNI_PATH": "\(folder):\(Self.plugins)", "PORTMAP_STATE_DIR": state,
    ]
    let all = usual.merging(environment) { $1 }.merging(variables) { $1 }.filter { !$0.value.isEmpty }
    return try host.start(
      prefix + ["sh", "-c", "exec \"$0\" <\"$1\"", path(plugin), file],
      environment: all
    )
  }

  /// Starts portmap alone, behind a result that it is handed.
  func start(
    _ command: String,
    _ container: String,
    _ ports: [PortMapping],
    behind result: [String: Any]?,
    netns: String = "/run/netns/none"
  ) throws -> ChildProcess {
    try start(
      command,
      configuration(ports, result),
      variables: ["CNI_CONTAINERID": container, "CNI_NETNS": netns]
    )
  }

  /// Runs portmap alone, behind a result that it is handed.
  @discardableResult
  func portmap(
    _ command: String,
    _ container: String,
    _ ports: [PortMapping] = [],
    behind result: [String: Any]? = nil,
    netns: String = "/run/netns/none",
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try start(command, container, ports, behind: result, netns: netns).wait().expecting(status, at: location)
  }

  func configuration(_ ports: [PortMapping] = [], _ result: [String: Any]? = nil, _ rest: [String: Any] = [:])
    throws -> String
  {
    var configuration = settings
    configuration["type"] = "portmap"
    configuration["name"] = network
    configuration["cniVersion"] = version
    if !ports.isEmpty { configuration["runtimeConfig"] = ["portMappings": ports.map(\.entry)] }
    if let result { configuration["prevResult"] = result }
    return try Self.json(configuration.merging(rest) { $1 })
  }

  static func json(_ value: [String: Any]) throws -> String {
    String(decoding: try JSONSerialization.data(withJSONObject: value), as: UTF8.self)
  }
}

/// A port to be mapped, as a runtime passes it on.
struct PortMapping {
  let host: Int
  let container: Int
  var name = "tcp"
  var address: String?

  init(_ host: Int, _ container: Int, _ name: String = "tcp", on address: String? = nil) {
    self.host = host
    self.container = container
    self.name = name
    self.address = address
  }

  var entry: [String: Any] {
    var entry: [String: Any] = ["hostPort": host, "containerPort": container, "protocol": name]
    entry["hostIP"] = address
    return entry
  }
}

/// A failure as plugins print it.
struct CNIFailure: Decodable {
  let cniVersion: String
  let code: Int
  let msg: String
  let details: String
}

extension CNIRuntime {
  /// What the plugin before portmap would have printed of a container with these addresses.
  func result(_ addresses: String..., interface: String = "eth0") -> [String: Any] {
    [
      "cniVersion": version, "dns": [String: Any](),
      "interfaces": [["name": "br0"], ["name": interface, "sandbox": "/run/netns/none"]],
      "ips": addresses.map { ["address": $0, "interface": 1] },
    ]
  }

  /// The plugins of a chain but for portmap.
  struct Chain {
    var plugins: [[String: Any]]
  }

  /// Runs a chain for a container: each plugin gets the result of the one before it.
  ///
  /// - Returns: The last one's result.
  func add(_ container: Namespace, _ ports: [PortMapping], _ chain: Chain) throws -> [String: Any] {
    var result: [String: Any]?
    for plugin in chain.plugins + [settings.merging(["type": "portmap"]) { $1 }] {
      let outcome = try call("ADD", plugin, container, ports, result)
      result = try JSONSerialization.jsonObject(with: Data(outcome.stdout.utf8)) as? [String: Any]
    }
    return try #require(result)
  }

  /// The same for CHECK and, the other way around, DEL.
  func call(
    _ command: String,
    _ container: Namespace,
    _ ports: [PortMapping],
    _ chain: Chain,
    _ result: [String: Any]
  )
    throws
  {
    let plugins = chain.plugins + [settings.merging(["type": "portmap"]) { $1 }]
    for plugin in command == "DEL" ? plugins.reversed() : plugins {
      let outcome = try call(command, plugin, container, ports, result)
      #expect(outcome.stdout.isEmpty, "\(outcome)")
    }
  }

  private func call(
    _ command: String,
    _ plugin: [String: Any],
    _ container: Namespace,
    _ ports: [PortMapping],
    _ result: [String: Any]?
  ) throws -> Outcome {
    var configuration = plugin
    configuration["name"] = network
    configuration["cniVersion"] = version
    configuration["prevResult"] = result
    let type = plugin["type"] as? String ?? ""
    if type == "portmap", !ports.isEmpty {
      configuration["runtimeConfig"] = ["portMappings": ports.map(\.entry)]
    }
    return try raw(
      command,
      Self.json(configuration),
      plugin: type,
      variables: ["CNI_CONTAINERID": container.name, "CNI_NETNS": "/run/netns/\(container.name)"]
    )
  }
}
