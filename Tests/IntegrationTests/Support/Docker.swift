import Foundation
import Testing

/// The real dockerd in a namespace of the test's own, with processes, mounts and control groups that go with it.
struct Docker {
  /// Where `make test` has unpacked it.
  private static let root = Tools.repository.appendingPathComponent(".build/docker").path

  /// The namespace in which its ports are.
  let host: Namespace
  private let folder: String
  let environment: [String: String]

  /// Gets a folder's own /run and images, and a shell as the first of the processes that end with it: so dockerd alone
  /// can be killed. `ip netns exec` would take the control groups out of sight.
  private static let script = """
    mount -t tmpfs tmpfs /run && mkdir /run/lock && mkdir "$0/data" && mount -t tmpfs tmpfs "$0/data" || exit
    "$@" &
    wait
    sleep infinity
    """

  /// Starts it with its proxy replaced.
  ///
  /// - Parameter options: More words for dockerd.
  init(_ topology: Topology, proxy: String, _ options: String...) throws {
    host = topology.host
    folder = topology.folder + "/docker"
    guard FileManager.default.isExecutableFile(atPath: Self.root + "/usr/sbin/dockerd") else {
      throw Tools.Missing(description: "not unpacked: \(Self.root), which `make test` does")
    }
    environment = [
      "HOME": folder, "DOCKER_HOST": "unix://\(folder)/socket",
      "PATH": "\(Self.root)/usr/sbin:\(Self.root)/usr/bin:\(Tools.searchPath)",
    ]
    let group = "/" + URL(fileURLWithPath: topology.folder).lastPathComponent
    topology.cleanup.add { try Self.removeControlGroups(group) }
    try run(["mkdir", folder])
    try Data("{}".utf8).write(to: URL(fileURLWithPath: folder + "/daemon.json"))
    let daemon = try ChildProcess(
      [
        "nsenter", "--net=/run/netns/\(host.name)", "unshare", "--mount", "--pid", "--fork", "--kill-child",
        "--mount-proc", "sh", "-c", Self.script, folder, "dockerd", "--config-file", folder + "/daemon.json",
        "--data-root", folder + "/data", "--exec-root", folder + "/exec", "--pidfile", folder + "/pid",
        "--host", "unix://\(folder)/socket", "--storage-driver", "vfs", "--exec-opt",
        "native.cgroupdriver=cgroupfs", "--cgroup-parent", group, "--bip", "172.30.0.1/24",
        "--userland-proxy-path", proxy, "--log-level", "error",
      ] + options,
      environment: environment
    )
    topology.cleanup.add { daemon.kill() }
    let deadline = Date() + 20
    while try command(["version"], status: nil).status != 0 {
      try #require(Date() < deadline, "dockerd does not start: \(daemon.wait(timeout: 0))")
      usleep(100_000)
    }
    let image = "mkdir \"$1\" && cp \"$0/bin/busybox\" \"$1\" && tar -C \"$1\" -c . | docker import - tiny"
    try run(["sh", "-c", image, Self.root, folder + "/image"], environment: environment)
  }

  /// Runs `docker`.
  @discardableResult
  func callAsFunction(
    _ arguments: String...,
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try command(arguments, status: status, at: location)
  }

  private func command(
    _ arguments: [String],
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try run(
      [Self.root + "/usr/bin/docker"] + arguments,
      environment: environment,
      status: status,
      timeout: 60,
      at: location
    )
  }

  /// Runs a container whose ports the probe serves, until it is stopped.
  ///
  /// - Parameter published: What stands behind each `-p`.
  @discardableResult
  func serve(
    _ transport: Transport,
    _ ports: String,
    name: String,
    published: [String],
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let server = [
      "/busybox", "chroot", "/host", Tools.probe, "serve", transport.rawValue, "0.0.0.0", ports, "--name",
      name,
      "--lifetime", "300",
    ]
    let options = ["run", "--detach", "--name", name, "--volume", "/:/host:ro"]
    return try command(
      options + published.flatMap { ["--publish", $0] } + ["tiny"] + server,
      status: status,
      at: location
    )
  }

  /// The proxies that run, and dockerd.
  func processes(_ name: String) throws -> [pid_t] {
    try host.processes().filter { comm(of: $0) == name }
  }

  /// The control groups of containers go with them, their parent does not.
  private static func removeControlGroups(_ group: String) throws {
    let script = "find /sys/fs/cgroup -depth -type d -path \"*$0*\" -exec rmdir {} +"
    try eventually("control groups of \(group) stay") {
      try run(["sh", "-c", script, group], status: nil).status == 0
    }
  }
}
