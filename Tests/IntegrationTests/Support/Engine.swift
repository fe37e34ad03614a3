import Foundation
import Testing

/// A container engine in a namespace of the test's own, with processes, mounts and folders that go with it.
struct Engine {
  /// Where `make test` has unpacked podman, conmon and what they need.
  static let podman = Tools.repository.appendingPathComponent(".build/podman").path
  /// The same for containerd, ctr, runc and a static busybox.
  static let docker = Tools.repository.appendingPathComponent(".build/docker").path

  let host: Namespace
  let folder: String
  private let environment: [String: String]
  private let target: pid_t

  /// Folders of its own in the place of the machine's: nothing that an engine writes down stays.
  private static let script = """
    mount -t tmpfs tmpfs "$0" && mkdir "$0/state" "$0/data" "$0/image" && mount -t tmpfs tmpfs /run || exit
    mkdir /run/lock /run/netns
    for folder in /etc /opt /var; do
      mkdir -p "$0/over$folder" "$0/work$folder"
      mount -t overlay -o "lowerdir=$folder,upperdir=$0/over$folder,workdir=$0/work$folder" overlay $folder || exit
    done
    mkdir -p /etc/containers /etc/cni/net.d /opt/cni/bin "$0/image/bin"
    cp "$1/bin/busybox" "$0/image/bin/" && echo ready
    sleep infinity
    """

  init(_ topology: Topology, environment: [String: String]) throws {
    host = topology.host
    folder = topology.folder + "/engine"
    self.environment = environment.merging([
      "HOME": folder, "PORTMAP_STATE_DIR": folder + "/state",
      "PATH": "\(Self.podman)/usr/bin:\(Self.docker)/usr/bin:\(Self.docker)/usr/sbin:\(Tools.searchPath)",
    ]) { $1 }
    for program in [Self.podman + "/usr/bin/podman", Self.docker + "/usr/bin/ctr"] {
      guard FileManager.default.isExecutableFile(atPath: program) else {
        throw Tools.Missing(description: "not unpacked: \(program), which `make test` does")
      }
    }
    try run(["mkdir", folder])
    topology.cleanup.add { try Self.removeControlGroups() }
    let keeper = try ChildProcess(
      [
        "nsenter", "--net=/run/netns/\(host.name)", "unshare", "--mount", "--pid", "--fork", "--kill-child",
        "--mount-proc", "sh", "-c", Self.script, folder, Self.docker,
      ]
    )
    topology.cleanup.add { keeper.kill() }
    try #require(keeper.line(timeout: 20) == "ready", "no engine: \(keeper.wait(timeout: 0))")
    let children = try String(
      contentsOfFile: "/proc/\(keeper.pid)/task/\(keeper.pid)/children",
      encoding: .utf8
    )
    target = try #require(pid_t(children.split(separator: " ").first ?? ""))
  }

  /// Makes the plugins known, ours and those of Debian that networks need.
  func installPlugins(in place: String) throws {
    try command(["ln", "-sf", Tools.portmap, place + "/portmap"])
    for plugin in ["bridge", "host-local", "firewall", "tuning"] {
      try command(["ln", "-sf", "\(CNIRuntime.plugins)/\(plugin)", "\(place)/\(plugin)"])
    }
  }

  /// Writes a file that the engine sees.
  func write(_ text: String, to path: String) throws {
    try command(["sh", "-c", "printf '%s' \"$0\" >\"$1\"", text, path])
  }

  /// Runs a program beside the engine.
  @discardableResult
  func command(
    _ words: [String],
    status: Int32? = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try start(words).wait(timeout: 60).expecting(status, at: location)
  }

  func start(_ words: [String]) throws -> ChildProcess {
    let enter = ["nsenter", "--target", "\(target)", "--mount", "--pid", "--net", "--"]
    return try ChildProcess(enter + words, environment: environment)
  }

  /// What portmap has mapped.
  func mappings() throws -> [MappingRecord] {
    try command([Tools.portmap, "list", "--json"]).json(ListDocument.self).mappings
  }

  /// Names of others on this machine are left alone: a group in use cannot be removed.
  private static func removeControlGroups() throws {
    let groups = "\\( -path '*libpod_parent*' -o -path '*/default' \\)"
    let script = "find /sys/fs/cgroup -depth -type d \(groups) -exec rmdir {} + 2>/dev/null"
    try run(["sh", "-c", script], status: nil)
  }
}
