import Testing

@testable import portmap

/// Who stands behind a process that has a port.
@Suite struct PortOwnerTests {
  @Test(arguments: [
    ("0::/system.slice/nginx.service\n", "nginx.service"),
    ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n", "web.service"),
    ("12:pids:/x\n1:name=systemd:/system.slice/nginx.service\n", "nginx.service"),
    ("0::/system.slice/system-getty.slice/getty@tty1.service\n", "getty@tty1.service"),
  ])
  func unit(group: String, unit: String) {
    #expect(PortOwner.unit(ofControlGroup: Array(group.utf8)) == unit)
  }

  @Test func container() {
    let id = String(repeating: "0123456789abcdef", count: 4)
    for name in ["docker", "libpod", "cri-containerd"] {
      let group = "0::/system.slice/\(name)-\(id).scope\n"
      #expect(PortOwner.unit(ofControlGroup: Array(group.utf8)) == "container 0123456789ab")
    }
  }

  @Test(arguments: [
    "", "0::/\n", "0::/user.slice/user-0.slice/session-3.scope\n", "0::/init.scope\n", "junk",
  ])
  func nobody(_ group: String) {
    #expect(PortOwner.unit(ofControlGroup: Array(group.utf8)) == nil)
  }

  @Test func dockersProxy() throws {
    let words = [
      "/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "8080", "-container-ip",
      "172.17.0.2", "-container-port", "80",
    ]
    #expect(PortOwner.dockerBackend(words)?.description == "172.17.0.2:80")
    #expect(
      PortOwner.dockerBackend(["docker-proxy", "--container-ip=fd00::2", "--container-port=53"])?.description
        == "[fd00::2]:53"
    )
    #expect(PortOwner.dockerBackend(["nginx", "-g", "daemon off;"]) == nil)
    #expect(PortOwner.dockerBackend(["x", "-container-ip"]) == nil)
  }

  @Test func socketUnits() {
    let list = """
      /run/dbus/system_bus_socket dbus.socket dbus.service
      [::]:22                     ssh.socket  ssh.service
      0.0.0.0:8080                web.socket  web.service
      127.0.0.1:18080             other.socket other.service
      """
    #expect(PortOwner.socketUnit(of: 8080, in: list) == "web.socket")
    #expect(PortOwner.socketUnit(of: 22, in: list) == "ssh.socket")
    #expect(PortOwner.socketUnit(of: 80, in: list) == nil)
    #expect(PortOwner.socketUnit(of: 80, in: "") == nil)
  }

  @Test func containersName() throws {
    let body = #"""
      [{"Id":"1","Names":["/mail"],"NetworkSettings":{"Networks":{"bridge":{"IPAddress":"172.17.0.3"}}}},
       {"Names":["/web"],"NetworkSettings":{"Networks":{"mine":{"IPAddress":"172.18.0.2"},"b":{"IPAddress":"172.17.0.2"}}}},
       {"Names":null,"NetworkSettings":null}]
      """#
    func name(_ address: String, _ text: String) throws -> String? {
      DockerSocket.container(at: try Samples.address(address), in: Array(text.utf8))
    }
    let answer = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body
    #expect(try name("172.17.0.2", answer) == "web")
    #expect(try name("172.17.0.3", answer) == "mail")
    #expect(try name("172.17.0.4", answer) == nil)
    for junk in ["", "HTTP/1.0 500 No\r\n\r\n{}", body, "\r\n\r\n[", "\r\n\r\n[1]"] {
      #expect(try name("172.17.0.2", junk) == nil)
    }
  }
}
