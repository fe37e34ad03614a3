import Foundation
import Testing

/// The program under test, run in one namespace with one state folder.
struct Portmap {
  let namespace: Namespace
  /// The folder given to PORTMAP_STATE_DIR; empty for none.
  var state: String
  var environment: [String: String] = [:]
  /// What it is run through, such as `setpriv`.
  var prefix: [String] = []
  var binary = Tools.portmap

  init(_ namespace: Namespace, state: String, _ cleanup: Cleanup) {
    self.namespace = namespace
    self.state = state
    cleanup.add {
      // The namespace's lock, which is kept apart from the state folders.
      let cookie = try namespace.exec(Tools.probe, "cookie").lines[0]
      try? FileManager.default.removeItem(atPath: "/run/portmap/netns-" + cookie)
    }
  }

  /// The program with its default folder on a /run of the test's own, in a mount namespace of each command's own.
  init(_ namespace: Namespace, run: String, _ cleanup: Cleanup) {
    self.init(namespace, state: "", cleanup)
    prefix = ["unshare", "--mount", "sh", "-c", "mount --bind \"$0\" /run && exec \"$@\"", run]
  }

  /// The same without the program on connect(2): the proxy serves loopback.
  var withoutConnecting: Portmap {
    var portmap = self
    portmap.environment["PORTMAP_CONNECT"] = "0"
    return portmap
  }

  /// Runs one command line to its end; the status is that expected, nil for any.
  @discardableResult
  func callAsFunction(
    _ arguments: String...,
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try self.run(arguments, status: status, at: location)
  }

  @discardableResult
  func run(
    _ arguments: [String],
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let outcome = try namespace.exec(
      prefix + [binary] + arguments,
      environment: variables,
      status: status,
      at: location
    )
    #expect(!outcome.keptOpen, "holds its caller's pipes: \(outcome)", sourceLocation: location)
    return outcome
  }

  /// Starts one command line.
  func start(_ arguments: [String]) throws -> ChildProcess {
    try namespace.start(prefix + [binary] + arguments, environment: variables)
  }

  private var variables: [String: String] {
    state.isEmpty ? environment : environment.merging(["PORTMAP_STATE_DIR": state]) { $1 }
  }

  /// Runs a shell script in which `"$0"` is the program.
  @discardableResult
  func shell(
    _ script: String,
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try namespace.exec(
      prefix + ["sh", "-c", script, binary],
      environment: variables,
      status: status,
      at: location
    )
  }

  /// Reserves one port and returns it.
  func allocate(_ arguments: String..., at location: SourceLocation = #_sourceLocation) throws -> Int {
    let outcome = try self.run(["alloc"] + arguments, at: location)
    return try #require(Int(outcome.lines.first ?? ""), "\(outcome)", sourceLocation: location)
  }

  /// What `list --json` shows.
  func list(_ targets: String...) throws -> ListDocument {
    try self.run(["list", "--json"] + targets).json()
  }

  /// Maps, and returns what `map --json` printed.
  func map(_ arguments: String..., at location: SourceLocation = #_sourceLocation) throws -> [MappingRecord] {
    try self.run(["map", "--json"] + arguments, at: location).json()
  }
}

/// One mapping in JSON.
struct MappingRecord: Decodable, Equatable {
  let backendIP: String
  let backendPort: Int
  let backendPortEnd: Int
  let connect: Bool
  let hostIP: String
  let hostPort: Int
  let hostPortEnd: Int
  let id: String
  let into: String
  let nat: Bool
  let origin: String
  let pid: pid_t?
  let `protocol`: String
  let proxy: Bool
  let stats: StatisticsRecord?
  let status: String
}

/// One reserved port in JSON.
struct ReservationRecord: Decodable, Equatable {
  let hostIP: String
  let id: String
  let origin: String
  let pid: pid_t
  let port: Int
  let `protocol`: String
}

/// One allocated address in JSON, with its ports, backend to host, by protocol.
struct AddressRecord: Decodable, Equatable {
  let bridge: String
  let gateway: String
  let ip: String
  let name: String?
  let origin: String
  let prefixLength: Int
  let portMapping: [String: [String: String]]?
}

/// What `list --json` prints.
struct ListDocument: Decodable, Equatable {
  let addresses: [AddressRecord]
  let mappings: [MappingRecord]
  let reservations: [ReservationRecord]

  var isEmpty: Bool { addresses.isEmpty && mappings.isEmpty && reservations.isEmpty }
}
