import Foundation
import Testing

/// The header with which the proxy can tell a backend whom it speaks for.
@Suite struct ProxyProtocolTests {
  typealias Address = Topology.Address

  @Test func versionOneIsALine() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web")
      try topology.portmap("map", "8080:80", "--proxy-only", "--proxy-protocol", "v1", "--to", Address.web)
      // The backend takes the header for the first line that it is sent, and answers with it.
      let answer = try topology.outside.ask(.tcp, Address.host, 8080, "--bind", "192.0.2.2/7777")
      #expect(answer.text.hasSuffix(" PROXY TCP4 192.0.2.2 192.0.2.1 7777 8080\r\n"), "\(answer)")
      let answer6 = try topology.outside.ask(.tcp, Address.host6, 8080, "--bind", "2001:db8:1::2/7777")
      #expect(answer6.text.hasSuffix(" PROXY TCP6 2001:db8:1::2 2001:db8:1::1 7777 8080\r\n"), "\(answer6)")
    }
  }

  @Test func versionTwoIsBinary() throws {
    try withTopology { topology in
      try topology.web.serve(.tcp, Address.web, "80", name: "web", mode: "sink")
      let proxy = try topology.portmap.start(["proxy", "--proxy-protocol", "v2", "8080", "10.99.0.2:80"])
      #expect(proxy.line() == "8080->10.99.0.2:80")
      // 16 bytes, and two addresses with their ports.
      let answer = try topology.outside.ask(.tcp, Address.host, 8080, "--size", "1000")
      #expect(answer.text.hasSuffix(" 1028"), "\(answer)")
      let answer6 = try topology.outside.ask(.tcp, Address.host6, 8080, "--size", "1000")
      #expect(answer6.text.hasSuffix(" 1052"), "\(answer6)")
    }
  }

  /// What a real receiver makes of it: haproxy says whom it takes for its client.
  @Test(arguments: ["v1", "v2"])
  func haproxyUnderstandsIt(_ version: String) throws {
    try withTopology { topology in
      let configuration = topology.folder + "/haproxy.cfg"
      let text = """
        defaults
          mode http
          timeout client 5s
          timeout server 5s
          timeout connect 5s
        frontend header
          bind 10.99.0.2:80 accept-proxy
          http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"

        """
      try Data(text.utf8).write(to: URL(fileURLWithPath: configuration))
      try topology.web.start(["haproxy", "-db", "-f", configuration])
      try topology.portmap("map", "8080:80", "--proxy-only", "--proxy-protocol", version, "--to", Address.web)
      func fetch(_ address: String, _ source: String) throws -> String {
        try topology.outside.exec(
          "curl",
          "--silent",
          "--max-time",
          "5",
          "--retry",
          "5",
          "--retry-all-errors",
          "--retry-delay",
          "1",
          "--interface",
          source,
          "--local-port",
          "7000-7100",
          "http://\(address):8080/"
        ).stdout
      }
      #expect(try fetch("192.0.2.1", "192.0.2.2").hasPrefix("192.0.2.2 70"))
      #expect(try fetch("192.0.2.1", "192.0.2.2").hasSuffix(" 192.0.2.1 8080"))
      #expect(try fetch("[2001:db8:1::1]", "2001:db8:1::2").hasPrefix("2001:db8:1::2 70"))
      #expect(try fetch("[2001:db8:1::1]", "2001:db8:1::2").hasSuffix(" 2001:db8:1::1 8080"))
    }
  }
}
