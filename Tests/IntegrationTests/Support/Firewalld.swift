import Foundation
import Testing

/// The real firewalld in the host's namespace, with a message bus and a configuration of its own: Debian's default
/// one, but for the backend.
struct Firewalld {
  enum Backend: String, CaseIterable {
    case nftables
    case iptables
  }

  /// Where `make test` has unpacked it.
  private static let root = Tools.repository.appendingPathComponent(".build/firewalld").path

  private let namespace: Namespace
  private let environment: [String: String]

  init(_ topology: Topology, _ backend: Backend) throws {
    let folder = topology.folder + "/firewalld"
    let bus = "unix:path=\(folder)/bus"
    let configuration = """
      <busconfig><type>session</type><listen>\(bus)</listen><policy context="default">
      <allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/></policy></busconfig>
      """
    try run(["cp", "-a", Self.root + "/etc/firewalld", folder])
    try run([
      "sed", "-i", "s/^FirewallBackend=.*/FirewallBackend=\(backend.rawValue)/", folder + "/firewalld.conf",
    ])
    try Data(configuration.utf8).write(to: URL(fileURLWithPath: folder + "/bus.conf"))
    namespace = topology.host
    environment = [
      "DBUS_SYSTEM_BUS_ADDRESS": bus, "PYTHONDONTWRITEBYTECODE": "1",
      "PYTHONPATH": Self.root + "/usr/lib/python3/dist-packages",
    ]
    let daemon = try namespace.start([
      "dbus-daemon", "--config-file=\(folder)/bus.conf", "--nofork", "--print-address",
    ])
    try #require(daemon.line() != nil, "no message bus: \(daemon.command)")
    try namespace.start(
      [
        "/usr/bin/python3", Self.root + "/usr/sbin/firewalld", "--nofork", "--nopid", "--system-config",
        folder,
        "--default-config", Self.root + "/usr/lib/firewalld", "--log-target", "file", "--log-file",
        folder + "/log",
      ],
      environment: environment
    )
    let deadline = Date() + 20
    while try command(["--state"], status: nil).status != 0, Date() < deadline { usleep(200_000) }
    try command(["--state"])
  }

  /// Runs `firewall-cmd`.
  @discardableResult
  func callAsFunction(_ arguments: String..., at location: SourceLocation = #_sourceLocation) throws
    -> Outcome
  {
    try command(arguments, at: location)
  }

  @discardableResult
  private func command(
    _ arguments: [String],
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try namespace.exec(
      ["/usr/bin/python3", Self.root + "/usr/bin/firewall-cmd"] + arguments,
      environment: environment,
      status: status,
      timeout: 10,
      at: location
    )
  }
}
