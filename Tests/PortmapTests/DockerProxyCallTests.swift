import Glibc
import Testing

@testable import portmap

/// The flags of dockerd's userland proxy.
@Suite struct DockerProxyCallTests {
  private func options(_ words: [String]) throws -> DockerProxyOptions {
    let call = try DockerProxyCall(words)
    guard case .forward(let options) = call else {
      Issue.record("no options: \(call)")
      throw CancellationError()
    }
    return options
  }

  private static let backend = ["-container-ip", "172.17.0.2", "-container-port", "80"]

  /// As dockerd 20.10 writes them, and in the other ways that Go's `flag` takes.
  @Test(arguments: [
    "-proto tcp -host-ip 192.0.2.1 -host-port 8080 -container-ip 172.17.0.2 -container-port 80",
    "--proto=tcp --host-ip=192.0.2.1 --host-port=8080 --container-ip=172.17.0.2 --container-port=80",
    "-container-port=80 --container-ip 172.17.0.2 -host-port 8080 --host-ip 192.0.2.1",
    "-host-port 1 -host-port 8080 -use-listen-fd=false -v=0 --version=F -host-ip=192.0.2.1 -proto=tcp "
      + "-container-ip 172.17.0.2 -container-port 80",
  ])
  func waysToWriteThem(_ line: String) throws {
    let options = try options(line.split(separator: " ").map(String.init))
    #expect(options.transport == .tcp)
    #expect(options.frontend == .address(SocketAddress(IPAddress(v4: 0xC000_0201), port: 8080)))
    #expect(options.backend == SocketAddress(IPAddress(v4: 0xAC11_0002), port: 80))
  }

  @Test(arguments: ["tcp", "udp", "sctp"])
  func protocols(_ name: String) throws {
    let options = try options(["-proto", name, "-host-port", "8080"] + Self.backend)
    #expect(options.transport.rawValue == name)
  }

  @Test func hostAddresses() throws {
    for (text, address) in [("0.0.0.0", IPAddress.anyV4), ("::", .anyV6), ("::1", .loopbackV6)] {
      let options = try options(["-host-ip", text, "-host-port", "8080"] + Self.backend)
      #expect(options.frontend == .address(SocketAddress(address, port: 8080)))
    }
    let call = try DockerProxyCall(["-host-port", "8080"] + Self.backend)
    #expect(call == (try DockerProxyCall(["-host-ip", "0.0.0.0", "-host-port", "8080"] + Self.backend)))
  }

  /// dockerd says where the socket is bound, too; the socket knows better.
  @Test(arguments: [
    ["-use-listen-fd"], ["--use-listen-fd=true"],
    ["-use-listen-fd=1", "-host-ip", "::", "-host-port", "8080"],
  ])
  func aSocketThatIsHandedOver(_ words: [String]) throws {
    let options = try options(words + Self.backend)
    #expect(options.frontend == .inherited)
  }

  @Test(arguments: [
    ["-v"], ["--version"], ["-version=true", "-proto", "tcp"], ["-proto", "ipx", "-v=T"],
  ])
  func version(_ words: [String]) throws {
    #expect(try DockerProxyCall(words) == .version)
  }

  @Test(arguments: [
    ("", "-container-ip is missing"),
    ("-container-ip 172.17.0.2", "-container-port is missing"),
    ("-container-ip 172.17.0.2 -container-port 80", "-host-port is missing"),
    ("-container-ip 172.17.0.2 -container-port", "-container-port needs a value"),
    ("-proto TCP", "invalid value 'TCP' for -proto"),
    ("-proto=", "invalid value '' for -proto"),
    ("-container-ip web", "invalid value 'web' for -container-ip"),
    ("-container-ip 172.17.0.2 -container-port 0", "invalid value '0' for -container-port"),
    ("-container-ip 172.17.0.2 -container-port 65536", "invalid value '65536' for -container-port"),
    (
      "-container-ip 172.17.0.2 -container-port 80 -host-port -1", "invalid value '-1' for -host-port"
    ),
    (
      "-container-ip 172.17.0.2 -container-port 80 -host-port 1 -host-ip [::1]",
      "invalid value '[::1]' for -host-ip"
    ),
    (
      "-use-listen-fd=yes -container-ip 172.17.0.2 -container-port 80",
      "invalid value 'yes' for -use-listen-fd"
    ),
    ("-use-listen-fd 4", "unexpected argument '4'"),
    ("-json", "unknown flag '-json'"),
    ("---proto tcp", "unknown flag '---proto'"),
    ("-", "unknown flag '-'"),
    ("8080", "unexpected argument '8080'"),
  ])
  func mistakes(_ line: String, _ message: String) {
    let error = #expect(throws: DockerProxyUsageError.self) {
      try DockerProxyCall(line.split(separator: " ").map(String.init))
    }
    #expect(error?.description == message)
  }

  @Test func names() {
    for name in ["docker-proxy", "/usr/libexec/portmap/docker-proxy", "./docker-proxy"] {
      #expect(DockerProxy.isName(name))
    }
    for name in [nil, "", "/", "portmap", "docker-proxy/portmap", "docker-proxy-2", "xdocker-proxy"] {
      #expect(!DockerProxy.isName(name))
    }
  }

  /// What docker's users and their scripts know.
  @Test func whatCannotBeListenedOn() {
    let taken = SystemError(call: "bind", errno: EADDRINUSE)
    let error = DockerProxyError.listening(
      .udp,
      SocketAddress(.loopbackV6, port: 53),
      taken,
      owner: "dnsmasq (process 7)"
    )
    #expect("\(error)" == "listen udp6 [::1]:53: bind: address already in use, by dnsmasq (process 7)")
  }
}
