import Foundation

/// Something of the network that is not as a command needs it.
enum NetworkError: Error {
  case noSuchBridge(String)
  case notABridge(String)
  case bridgeWithoutIPv4(String)
  case noSuchNamespace(String)
  case ownNamespace(String)
  case noFreeNetwork
  case subnetTaken(Subnet, by: Subnet)
  case unreadable(command: String)
}

/// Runs `ip`: reading by way of its JSON output, changing in batches.
struct IPRoute {
  let runner: ProgramRunner
  let lock: Descriptor?

  /// The networks that unicast routes of the main and local tables lead to, but for the default route.
  ///
  /// Unreachable, blackhole, prohibit and throw routes count too: somebody keeps these ranges for a purpose.
  func routes() throws -> [Subnet] {
    try Self.routes(in: json(["-4", "-json", "route", "show", "table", "all"], as: [Route].self).map(\.dst))
  }

  /// Reads the destinations of routes: `default`, `10.0.0.0/8`, or one address.
  static func routes(in destinations: [String?]) -> [Subnet] {
    destinations.compactMap { destination in
      guard let destination else { return nil }
      let subnet =
        Subnet(destination) ?? IPAddress(destination).flatMap { Subnet($0, prefixLength: $0.family.bits) }
      guard let subnet, subnet.address.family == .v4, subnet.prefixLength > 0 else { return nil }
      return subnet
    }
  }

  private struct Route: Decodable { let dst: String? }

  struct Link: Decodable, Equatable {
    let ifname: String
    var ifalias: String?
    var flags: [String]?
    var linkinfo: Kind?
    var addr_info: [Address]?
    var master: String?
    /// The number of the namespace that its other end is in, as this one calls it.
    var link_netnsid: Int?

    struct Kind: Decodable, Equatable {
      var info_kind: String?
      var info_slave_data: Slave?
    }
    struct Slave: Decodable, Equatable { var hairpin: Bool? }
    struct Address: Decodable, Equatable {
      var family: String?
      var local: String?
      var prefixlen: Int?
    }

    var isUp: Bool { flags?.contains("UP") ?? false }
    var isBridge: Bool { linkinfo?.info_kind == "bridge" }

    /// Its IPv4 addresses in the order in which `ip` lists them.
    var subnets: [Subnet] {
      (addr_info ?? []).compactMap { address in
        guard address.family == "inet", let ip = address.local.flatMap({ IPAddress($0) }) else { return nil }
        return Subnet(ip, prefixLength: address.prefixlen ?? 32)
      }
    }
  }

  /// A link by its name, with its kind and addresses; nil where there is none.
  func link(_ name: String) throws -> Link? {
    guard if_nametoindex(name) != 0 else { return nil }
    return try json(["-details", "-json", "address", "show", "dev", name], as: [Link].self).first
  }

  /// The numbers by which this namespace calls those under /run/netns that it has to do with, by their names.
  func namespaceNumbers() throws -> [String: Int] {
    struct Name: Decodable {
      let name: String
      let id: Int?
    }
    let names = try json(["-json", "netns", "list"], as: [Name].self)
    return Dictionary(names.compactMap { name in name.id.map { (name.name, $0) } }) { $1 }
  }

  /// The links that carry an owner's alias.
  func links(of owner: LinkAlias) throws -> [(link: Link, alias: LinkAlias)] {
    try json(["-details", "-json", "address", "show"], as: [Link].self).compactMap { link in
      guard let alias = link.ifalias.flatMap({ LinkAlias($0) }), alias.owner == owner.owner else {
        return nil
      }
      return (link, alias)
    }
  }

  /// The links of a namespace.
  func links(inNamespace name: String) throws -> [Link] {
    try json(["-netns", name, "-details", "-json", "address", "show"], as: [Link].self)
  }

  /// The first of eth0, eth1, … that a namespace does not have.
  func freeInterface(inNamespace name: String) throws -> String {
    let taken = Set(try links(inNamespace: name).map(\.ifname))
    return (0...taken.count).map { "eth\($0)" }.first { !taken.contains($0) } ?? "eth0"
  }

  /// Whether a namespace has a default IPv4 route.
  func hasDefaultRoute(inNamespace name: String) throws -> Bool {
    try !json(["-netns", name, "-4", "-json", "route", "show", "default"], as: [Route].self).isEmpty
  }

  /// The port of a bridge behind which an address is, as far as the kernel has learnt that; with its details.
  func bridgePort(of address: IPAddress) throws -> Link? {
    struct Neighbour: Decodable {
      let dev: String?
      let lladdr: String?
    }
    let found = try json(["-json", "neighbour", "show", "\(address)"], as: [Neighbour].self)
    guard let neighbour = found.first(where: { $0.lladdr != nil }), let bridge = neighbour.dev else {
      return nil
    }
    struct Entry: Decodable {
      let mac: String?
      let ifname: String?
    }
    let table = try runner.run("bridge", ["-json", "fdb", "show", "br", bridge], input: lock)
    let entries = try decode(table, "bridge fdb", as: [Entry].self)
    return try entries.first { $0.mac == neighbour.lladdr }?.ifname.flatMap { try link($0) }
  }

  /// The addresses that a bridge's neighbour table knows.
  func neighbours(of bridge: String) throws -> Set<IPAddress> {
    struct Neighbour: Decodable {
      let dst: String?
      let state: [String]?
    }
    let known = try json(["-4", "-json", "neighbour", "show", "dev", bridge], as: [Neighbour].self)
    return Set(
      known.filter { Set($0.state ?? []).isDisjoint(with: ["FAILED", "INCOMPLETE"]) }.compactMap {
        $0.dst.flatMap { IPAddress($0) }
      }
    )
  }

  /// Carries out a change of links; the first command that fails ends it.
  func carryOut(_ change: LinkChange) throws {
    for step in change.steps {
      let options = (step.namespace.map { ["-netns", $0] } ?? []) + ["-batch"]
      try runner.run("ip", options, text: step.commands.joined(separator: "\n") + "\n", input: lock)
    }
  }

  private func json<Value: Decodable>(_ arguments: [String], as type: Value.Type) throws -> Value {
    try decode(
      runner.run("ip", arguments, input: lock),
      "ip " + arguments.joined(separator: " "),
      as: type
    )
  }

  private func decode<Value: Decodable>(_ result: ProgramResult, _ command: String, as: Value.Type) throws
    -> Value
  {
    // It prints nothing at all where there is nothing to show.
    let bytes = result.stdout.allSatisfy { $0 == 10 || $0 == 32 } ? Array("[]".utf8) : result.stdout
    do {
      return try JSONDecoder().decode(Value.self, from: Data(bytes))
    } catch {
      throw NetworkError.unreadable(command: command)
    }
  }
}
