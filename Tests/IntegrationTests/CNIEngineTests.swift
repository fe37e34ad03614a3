import Foundation
import Testing

/// The plugin under real engines: podman with its CNI backend, and containerd's ctr.
@Suite(.serialized) struct CNIEngineTests {
  typealias Address = Topology.Address

  private func podman(_ topology: Topology) throws -> Engine {
    let folder = topology.folder + "/engine"
    let engine = try Engine(
      topology,
      environment: [
        "CONTAINERS_CONF": folder + "/containers.conf", "CONTAINERS_STORAGE_CONF": folder + "/storage.conf",
        "LD_LIBRARY_PATH": Engine.podman + "/usr/lib/x86_64-linux-gnu",
      ]
    )
    try engine.installPlugins(in: "/opt/cni/bin")
    try engine.command(["cp", "-r", Engine.podman + "/etc/containers/.", "/etc/containers"])
    try engine.write(
      """
      [network]
      network_backend="cni"
      cni_plugin_dirs=["/opt/cni/bin"]
      network_config_dir="\(folder)/data"
      [engine]
      cgroup_manager="cgroupfs"
      events_logger="file"
      runtime="runc"
      conmon_path=["\(Engine.podman)/usr/bin/conmon"]
      [engine.runtimes]
      runc=["\(Engine.docker)/usr/sbin/runc"]

      """,
      to: folder + "/containers.conf"
    )
    try engine.write(
      "[storage]\ndriver=\"vfs\"\ngraphroot=\"\(folder)/data/root\"\nrunroot=\"\(folder)/data/run\"\n",
      to: folder + "/storage.conf"
    )
    try engine.command(["sh", "-c", "tar -C \"$0\" -c . | podman import --quiet - tiny", folder + "/image"])
    return engine
  }

  private func serve(_ engine: Engine, _ name: String, _ transport: Transport, _ published: [String]) throws {
    let server = [
      "/bin/busybox", "chroot", "/host", Tools.probe, "serve", transport.rawValue, "0.0.0.0", "80-90",
      "--name", name,
      "--lifetime", "300",
    ]
    let ports = published.flatMap { ["--publish", $0] }
    try engine.command(
      ["podman", "run", "--detach", "--name", name, "--volume", "/:/host:ro"] + ports + ["tiny"] + server
    )
  }

  /// podman's conmon binds each published port once ADD is done, and keeps it over `network reload`.
  @Test func underPodman() throws {
    try withTopology { topology in
      let engine = try podman(topology)
      let outside = topology.outside
      try serve(engine, "web", .tcp, ["8080:80", "8081-8085:81-85", "\(Address.host):8090:90"])
      try serve(engine, "dns", .udp, ["5353:80/udp"])
      func answers(at location: SourceLocation = #_sourceLocation) throws {
        for (port, backend) in [(8080, 80), (8081, 81), (8085, 85), (8090, 90)] {
          let answer = try outside.ask(.tcp, Address.host, port)
          #expect(
            answer.peer == Address.outside && answer.port == backend,
            "\(port): \(answer)",
            sourceLocation: location
          )
        }
        #expect(try outside.ask(.udp, Address.host, 5353).name == "dns", sourceLocation: location)
        #expect(try engine.mappings().count == 3, "a range is one mapping", sourceLocation: location)
        #expect(
          try engine.mappings().allSatisfy { $0.origin.hasPrefix("cni:podman/") && $0.nat && !$0.proxy }
        )
        try engine.command([Tools.portmap, "check"], at: location)
      }
      try answers()
      try engine.command(["podman", "network", "reload", "--all"])
      try answers()
      // A firewall's reload.
      try engine.command(["iptables", "-t", "nat", "-F", "PREROUTING"])
      try engine.command([Tools.portmap, "repair"])
      try answers()
      try engine.command(["podman", "restart", "--time", "0", "web", "dns"])
      try eventually("they do not come back") { try outside.ask(.udp, Address.host, 5353).name == "dns" }
      try answers()
      let outcome = try engine.command(
        ["podman", "run", "--name", "late", "--publish", "8081:81", "tiny", "/bin/busybox", "true"],
        status: 126
      )
      #expect(outcome.stderr.contains("host port 8081 is taken"), "\(outcome)")
      try engine.command(["podman", "rm", "--force", "--time", "0", "late", "web", "dns"])
      #expect(try engine.mappings().isEmpty)
      #expect(try topology.host.rules().allSatisfy { !$0.contains("PORTMAP") })
    }
  }

  /// ctr itself passes no ports on; they stand in the network's configuration.
  @Test func underContainerd() throws {
    try withTopology { topology in
      let engine = try Engine(topology, environment: [:])
      let folder = engine.folder
      try engine.installPlugins(in: "/opt/cni/bin")
      try engine.write(
        """
        {"cniVersion": "1.0.0", "name": "ctdnet", "plugins": [
          {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": {"type": "host-local",
            "subnet": "10.77.0.0/24", "dataDir": "\(folder)/ipam", "routes": [{"dst": "0.0.0.0/0"}]}},
          {"type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": [
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}]}
        """,
        to: "/etc/cni/net.d/10-net.conflist"
      )
      let address = folder + "/socket"
      let daemon = try engine.start([
        "containerd", "--root", folder + "/data", "--state", folder + "/data/state", "--address", address,
        "--log-level", "error",
      ])
      topology.cleanup.add { daemon.kill() }
      func ctr(_ words: String...) -> [String] { ["ctr", "--address", address] + words }
      try eventually("containerd does not start") {
        try engine.command(ctr("version"), status: nil).status == 0
      }
      let server = [Tools.probe, "serve", "tcp", "0.0.0.0", "80", "--name", "web", "--lifetime", "300"]
      func container(_ name: String, _ options: String...) -> [String] {
        ctr("run", "--cni") + options + [
          "--rootfs", "--mount", "type=bind,src=/,dst=/host,options=rbind:ro", folder + "/image", name,
          "/bin/busybox",
          "chroot", "/host",
        ] + server
      }
      try engine.command(["mkdir", "-p", folder + "/image/host", folder + "/image/dev"])
      let web = try engine.start(container("web", "--rm"))
      try eventually("it is not mapped") {
        try topology.outside.ask(.tcp, Address.host, 8080, timeout: 1).peer == Address.outside
      }
      #expect(try topology.host.ask(.tcp, "127.0.0.1", 8080).name == "web")
      #expect(try engine.mappings().map(\.origin) == ["cni:ctdnet/default-web/eth0"])
      try engine.command(ctr("task", "kill", "--signal", "9", "web"))
      _ = web.wait()
      #expect(try engine.mappings().isEmpty)

      // Detached, ctr forgets DEL: whoever comes next gets the port of a container that is gone.
      try engine.command(container("lost", "--detach"))
      try engine.command(ctr("task", "kill", "--signal", "9", "lost"))
      try eventually("it stays") { try engine.command(ctr("task", "rm", "lost"), status: nil).status != -1 }
      try engine.command(container("next", "--detach"))
      #expect(try engine.mappings().map(\.origin) == ["cni:ctdnet/default-next/eth0"])
    }
  }
}
