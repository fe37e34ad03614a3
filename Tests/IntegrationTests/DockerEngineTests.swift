import Foundation
import Testing

/// The program in docker-proxy's place, under the real dockerd.
@Suite struct DockerEngineTests {
  typealias Address = Topology.Address

  private func link(_ topology: Topology) throws -> String {
    let path = topology.folder + "/docker-proxy"
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: Tools.portmap)
    return path
  }

  @Test func portsOfEveryKind() throws {
    try withTopology { topology in
      let docker = try Docker(topology, proxy: link(topology))
      let (host, outside) = (topology.host, topology.outside)
      try docker.serve(
        .tcp,
        "80",
        name: "web",
        published: ["8080:80", "127.0.0.1:8081:80", "[::1]:8082:80", "[\(Address.host6)]:8083:80"]
      )
      try docker.serve(.udp, "53", name: "dns", published: ["5353:53/udp", "127.0.0.1:5354:53/udp"])
      // One for each family where no address is named.
      let proxies = try docker.processes("docker-proxy")
      #expect(proxies.count == 8)
      let program = URL(fileURLWithPath: Tools.portmap).resolvingSymlinksInPath().path
      for pid in proxies {
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/exe") == program)
      }
      // By docker's rules, which the proxy leaves alone, and by the proxy where there is no rule.
      #expect(try outside.ask(.tcp, Address.host, 8080).peer == Address.outside)
      #expect(try outside.ask(.tcp, Address.host6, 8080).peer == "172.30.0.1")
      #expect(try host.ask(.tcp, "127.0.0.1", 8080).peer == "172.30.0.1")
      #expect(try host.ask(.tcp, "::1", 8080).name == "web")
      #expect(try host.ask(.tcp, "127.0.0.1", 8081).name == "web")
      #expect(try host.ask(.tcp, "::1", 8082).name == "web")
      #expect(try outside.ask(.tcp, Address.host6, 8083).name == "web")
      for port in [8081, 8082] {
        #expect(try outside.ask(.tcp, Address.host, port).isUnanswered)
        #expect(try outside.ask(.tcp, Address.host6, port).isUnanswered)
      }
      #expect(try outside.ask(.udp, Address.host6, 5353).name == "dns")
      #expect(try host.ask(.udp, "127.0.0.1", 5353).name == "dns")
      #expect(try host.ask(.udp, "127.0.0.1", 5354).name == "dns")
      try takenPort(docker)

      try docker("stop", "--time", "0", "web")
      #expect(try docker.processes("docker-proxy").count == 3)
      try docker("start", "web")
      #expect(try host.ask(.tcp, "127.0.0.1", 8081).name == "web")
      // dockerd has no time for a word.
      let daemon = try #require(try docker.processes("dockerd").first)
      kill(daemon, SIGKILL)
      try eventually("they outlive dockerd") { try docker.processes("docker-proxy").isEmpty }
    }
  }

  private func takenPort(_ docker: Docker) throws {
    try docker.host.serve(.tcp, "0.0.0.0", "9090", name: "stranger")
    let outcome = try docker.serve(.tcp, "80", name: "late", published: ["9090:80"], status: 125)
    let words =
      "Error starting userland proxy: listen tcp4 0.0.0.0:9090: bind: address already in use"
    #expect(outcome.stderr.contains(words), "\(outcome)")
  }

  /// Without docker's rules, so that all goes through the proxies, and in seconds instead of a minute.
  @Test func twoHundredPorts() throws {
    try withTopology { topology in
      let docker = try Docker(topology, proxy: link(topology), "--iptables=false")
      try docker.serve(.tcp, "1-200", name: "web", published: ["20001-20200:1-200"])
      #expect(try docker.processes("docker-proxy").count == 400)
      for port in stride(from: 1, through: 200, by: 199 / 7) {
        #expect(try topology.outside.ask(.tcp, Address.host, 20000 + port).port == port)
        #expect(try topology.outside.ask(.tcp, Address.host6, 20000 + port).port == port)
      }
      try docker("stop", "--time", "0", "web")
      #expect(try docker.processes("docker-proxy").isEmpty)
      #expect(try topology.host.exec("ss", "-Htln").stdout.isEmpty)
    }
  }
}
