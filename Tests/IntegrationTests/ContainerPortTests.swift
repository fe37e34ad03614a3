import Foundation
import Testing

/// A port for a container that is running already, beside docker's rules.
@Suite struct ContainerPortTests {
  typealias Address = Topology.Address

  // MARK: a real dockerd

  /// Asks from inside a new container.
  private func ask(_ docker: Docker, _ transport: Transport, _ address: String, _ port: Int) throws -> Answer
  {
    Answer(
      try docker(
        "run",
        "--rm",
        "--volume",
        "/:/host:ro",
        "tiny",
        "/busybox",
        "chroot",
        "/host",
        Tools.probe,
        "ask",
        transport.rawValue,
        address,
        "\(port)",
        "--timeout",
        "5",
        status: nil
      )
    )
  }

  private func inspect(_ docker: Docker, _ format: String, _ name: String) throws -> String {
    try #require(try docker("inspect", "--format", format, name).lines.first)
  }

  @Test func theRealDocker() throws {
    try withTopology { topology in
      topology.cleanup.add { try topology.portmap("unmap", "--all", status: nil) }
      let link = topology.folder + "/docker-proxy"
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: Tools.portmap)
      let docker = try Docker(topology, proxy: link)
      let (host, outside, portmap) = (topology.host, topology.outside, topology.portmap)
      try docker.serve(.tcp, "80", name: "web", published: [])
      try docker.serve(.udp, "53", name: "dns", published: ["5353:53/udp"])
      let web = try inspect(docker, "{{.NetworkSettings.IPAddress}}", "web")
      let dns = try inspect(docker, "{{.NetworkSettings.IPAddress}}", "dns")
      try portmap("map", "8080:80", "--to", web)
      try portmap("map", "5300:53/udp", "--to", dns)
      func expectAll(at location: SourceLocation = #_sourceLocation) throws {
        let answer = try outside.ask(.tcp, Address.host, 8080)
        #expect(answer.name == "web" && answer.peer == Address.outside, "\(answer)", sourceLocation: location)
        #expect(try outside.ask(.tcp, Address.host6, 8080).name == "web", sourceLocation: location)
        #expect(try outside.ask(.udp, Address.host, 5300).peer == Address.outside, sourceLocation: location)
        #expect(try host.ask(.tcp, "127.0.0.1", 8080).name == "web", sourceLocation: location)
        #expect(try host.ask(.udp, "::1", 5300).name == "dns", sourceLocation: location)
        #expect(try ask(docker, .tcp, Address.host, 8080).name == "web", sourceLocation: location)
        #expect(try ask(docker, .udp, "172.30.0.1", 5300).name == "dns", sourceLocation: location)
        // What docker has published is as it was.
        #expect(try outside.ask(.udp, Address.host, 5353).name == "dns", sourceLocation: location)
      }
      try expectAll()
      // docker puts its own before what is there.
      try docker("network", "create", "other")
      try expectAll()
      #expect(try portmap("check").stdout.isEmpty)
      try portmap("unmap", "--all")
      #expect(try outside.ask(.udp, Address.host, 5353).name == "dns")
      #expect(try outside.ask(.tcp, Address.host, 8080).isUnanswered)
      try intoTheContainer(topology, docker)
    }
  }

  /// By its process and by docker's SandboxKey, as they are called where docker runs.
  private func intoTheContainer(_ topology: Topology, _ docker: Docker) throws {
    let daemon = try #require(try docker.processes("dockerd").first)
    var portmap = topology.portmap
    portmap.state = topology.folder + "/inside"
    portmap.prefix = ["nsenter", "--target", "\(daemon)", "--mount", "--pid", "--net"]
    try docker.serve(.tcp, "80", name: "alone", published: [])
    let names = [
      try inspect(docker, "{{.State.Pid}}", "web"),
      try inspect(docker, "{{.NetworkSettings.SandboxKey}}", "web"),
    ]
    for (port, name) in zip(8081..., names) {
      try portmap("map", "--into", name, "\(port):80")
      let answer = try topology.outside.ask(.tcp, Address.host, port)
      #expect(answer.name == "web" && answer.peer == "127.0.0.1", "\(answer)")
      #expect(try topology.host.ask(.tcp, "127.0.0.1", port).name == "web")
      #expect(try ask(docker, .tcp, Address.host, port).name == "web")
    }
    // A container that is started again has another process.
    try docker("restart", "--time", "0", "web")
    let gone = try portmap("check", status: 1)
    #expect(gone.stdout.contains("8081") && gone.stdout.contains("8082"), "\(gone)")
    try portmap("unmap", "--all")
    try recipe(portmap, topology, docker)
  }

  /// The recipe, for as long as the container runs.
  private func recipe(_ portmap: Portmap, _ topology: Topology, _ docker: Docker) throws {
    let folder = topology.folder + "/bin"
    try run(["mkdir", folder])
    try FileManager.default.createSymbolicLink(
      atPath: folder + "/portmap",
      withDestinationPath: Tools.portmap
    )
    let script = Tools.repository.appendingPathComponent("recipes/container-port").path
    var recipe = portmap
    recipe.binary = script
    recipe.environment = docker.environment.merging(["PATH": "\(folder):\(docker.environment["PATH"] ?? "")"])
    { $1 }
    let mapping = try recipe.start(["docker", "web", "8090:80"])
    try eventually("the recipe does not map") { try topology.host.ask(.tcp, "127.0.0.1", 8090).name == "web" }
    #expect(try topology.outside.ask(.tcp, Address.host, 8090).peer == Address.outside)
    try docker("stop", "--time", "0", "web")
    #expect(mapping.wait(timeout: 10).status == 0)
    #expect(try portmap.list().isEmpty)
  }

  // MARK: rules of later versions, as text

  /// A container in docker's place, whose port 80 docker has published as 9080, and which serves port 81 too.
  private func withContainer(
    _ body: (Topology, _ container: Namespace, _ neighbour: Namespace) throws -> Void
  ) throws {
    try withTopology { topology in
      topology.cleanup.add { try topology.portmap("unmap", "--all", status: nil) }
      try topology.setBridgeNetfilter(false)
      try topology.host.ip(batch: [
        "link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up",
      ])
      let containers = try ["c", "n"].enumerated().map { number, role in
        let container = try Namespace(role, topology.cleanup)
        try topology.host.ip(batch: [
          "link add veth\(number) type veth peer name eth0 netns \(container.name)",
          "link set veth\(number) master docker0 up",
        ])
        try container.ip(batch: [
          "addr add 172.17.0.\(number + 2)/16 dev eth0", "link set eth0 up",
          "route add default via 172.17.0.1",
        ])
        return container
      }
      try containers[0].serveBoth("172.17.0.2", "80-81", name: "container")
      try topology.host.setSysctl("net.ipv4.ip_forward=1")
      try body(topology, containers[0], containers[1])
    }
  }

  private func fixture(_ name: String) -> String {
    Tools.repository.appendingPathComponent("Tests/Fixtures/\(name)").path
  }

  private func expectMapped(
    _ topology: Topology,
    _ neighbour: Namespace,
    fromOutside: Bool = true,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    for transport in Transport.allCases {
      let answer = try topology.outside.ask(transport, Address.host, 8081, timeout: fromOutside ? 2 : 0.3)
      #expect(
        fromOutside ? answer.name == "container" && answer.peer == Address.outside : answer.isUnanswered,
        "\(transport): \(answer)",
        sourceLocation: location
      )
      for (client, address) in [
        (topology.host, "127.0.0.1"), (topology.host, Address.host), (neighbour, Address.host),
        (neighbour, "172.17.0.1"),
      ] {
        let answer = try client.ask(transport, address, 8081)
        #expect(answer.name == "container", "\(transport) \(address): \(answer)", sourceLocation: location)
      }
    }
    // docker's own port, and what it has not published.
    #expect(
      try topology.outside.ask(.tcp, Address.host, 9080).peer == Address.outside,
      sourceLocation: location
    )
    for port in [80, 81] {
      let answer = try topology.outside.ask(.tcp, "172.17.0.2", port, timeout: 0.3)
      #expect(answer.isUnanswered, "\(port): \(answer)", sourceLocation: location)
    }
  }

  /// Its raw rules drop what is sent straight to a container, before any DNAT; its chain DOCKER what is not published,
  /// after it.
  @Test(arguments: [true, false])
  func docker28(first: Bool) throws {
    try withContainer { topology, _, neighbour in
      let portmap = topology.portmap
      let load = "sed 's/^-A FORWARD/-I FORWARD/' \"$1\" | $0-restore --noflush"
      func loadDocker() throws {
        // In the other order, since each comes before the last.
        let text = try String(contentsOfFile: fixture("docker-28.rules"), encoding: .utf8)
        let lines = text.split(separator: "\n").map(String.init)
        let jumps = lines.filter { $0.hasPrefix("-A FORWARD") }
        var swapped = lines
        for (place, line) in zip(lines.indices.filter { lines[$0].hasPrefix("-A FORWARD") }, jumps.reversed())
        {
          swapped[place] = line
        }
        let path = topology.folder + "/rules"
        try Data((swapped.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: path))
        try topology.host.exec("sh", "-c", load, "iptables", path)
      }
      if first { try loadDocker() }
      try portmap("map", "8081:81/tcp+udp", "--to", "172.17.0.2")
      if !first {
        try loadDocker()
        let found = try portmap("check", status: 1).lines
        #expect(found.count == 1 && found[0].contains("stands behind docker's, which drops"), "\(found)")
        try portmap("repair")
      }
      try expectMapped(topology, neighbour)
      #expect(try portmap("check").stdout.isEmpty)
      // A ban of the administrator's stays first where it was.
      let forward = try topology.host.rules().filter { $0.hasPrefix("-A FORWARD") }
      let places = ["DOCKER-USER", "PORTMAP", "DOCKER-FORWARD"].map { name in
        forward.firstIndex { $0.contains("-j \(name)") }
      }
      #expect(first || places == [0, 1, 2], "\(forward)")
      try portmap("unmap", "--all")
      #expect(try !topology.host.rules().contains { $0.contains("PORTMAP") })
    }
  }

  /// Its table drops what it has not published whoever else has accepted it: `check` says so, and the proxy leads into
  /// the container all the same.
  @Test func docker29WithNFTables() throws {
    try withContainer { topology, container, neighbour in
      let portmap = topology.portmap
      try topology.host.exec("nft", "-f", fixture("docker-29.nft"))
      try portmap("map", "8081:81/tcp+udp", "--to", "172.17.0.2")
      try expectMapped(topology, neighbour, fromOutside: false)
      let found = try portmap("check", status: 1).lines
      #expect(found.count == 1 && found[0].contains("docker-bridges"), "\(found)")
      try portmap("unmap", "--all")
      try portmap("map", "8081:81/tcp+udp", "--into", container.name, "--to", "172.17.0.2")
      for transport in Transport.allCases {
        #expect(try topology.outside.ask(transport, Address.host, 8081).name == "container")
        #expect(try topology.host.ask(transport, "127.0.0.1", 8081).name == "container")
        #expect(try neighbour.ask(transport, Address.host, 8081).name == "container")
      }
      #expect(try portmap("check").stdout.isEmpty)
    }
  }
}
