import Foundation
import Testing

/// The recipes, run as their comments say.
@Suite struct RecipeTests {
  private static let recipes = Tools.repository.appendingPathComponent("recipes").path

  /// Runs a script with the recipes as its working folder, in a shell with process ids, mounts and network of its
  /// own: what is started ends with it, and names cannot clash.
  private func shell(_ script: String) throws -> [String] {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let host = try Namespace("h", cleanup)
    let setUp = """
      set -eu
      mount -t tmpfs none /run
      mkdir /run/netns /run/bin
      cp "$0" /run/bin/portmap
      export PATH=/run/bin:$PATH
      cd "$1"
      mkdir /run/www
      echo hello >/run/www/index.html
      fetch() {
        for _ in $(seq 100); do
          curl --silent --fail --max-time 5 "$1" && return
          sleep 0.05
        done
        return 1
      }

      """
    let isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"]
    return try host.exec(isolated + [setUp + script, Tools.portmap, Self.recipes], timeout: 60).lines
  }

  @Test func namespace() throws {
    let lines = try shell(
      """
      ./namespace web 8080:80 -- busybox httpd -f -p 80 -h /run/www 2>/dev/null &
      fetch http://127.0.0.1:8080/
      pkill -f '^portmap map '
      wait || true
      portmap list
      ip netns list
      """
    )
    #expect(lines == ["hello"])
  }

  @Test func libvirtHook() throws {
    let lines = try shell(
      """
      echo 'web 192.168.122.50 2222:22 53:53/udp' >/run/guests
      export PORTMAP_GUESTS=/run/guests
      ./libvirt-hook other start begin - </dev/null
      ./libvirt-hook web prepare begin - </dev/null
      portmap list -q | wc -l
      ./libvirt-hook web start begin - </dev/null 2>/dev/null
      portmap list -q | wc -l
      ./libvirt-hook web reconnect begin - </dev/null
      portmap list -q | wc -l
      ./libvirt-hook web release end - </dev/null
      portmap list -q | wc -l
      """
    )
    #expect(lines == ["0", "2", "2", "0"])
  }

  @Test func containerHook() throws {
    let lines = try shell(
      """
      unshare --net busybox httpd -f -p 80 -h /run/www &
      pid=$!
      sleep 0.2
      LXC_NAME=c1 LXC_PID=$pid LXC_HOOK_TYPE=start-host ./container-hook lxc 8080:80 2>/dev/null
      fetch http://127.0.0.1:8080/
      LXC_NAME=c1 LXC_HOOK_TYPE=post-stop ./container-hook lxc
      portmap list
      ip netns list
      """
    )
    #expect(lines == ["hello"])
  }

  @Test func socketFromSystemd() throws {
    let lines = try shell(
      """
      busybox httpd -p 127.0.0.1:81 -h /run/www
      systemd-socket-activate --listen=8080 portmap proxy 127.0.0.1:81 2>/dev/null &
      fetch http://127.0.0.1:8080/
      fetch http://[::1]:8080/
      """
    )
    #expect(lines.filter { $0 != "8080->127.0.0.1:81" } == ["hello", "hello"])
  }

  @Test func harness() throws {
    let lines = try shell(
      """
      bash -eu -c '
        source ./harness.sh
        reserve_port port
        busybox httpd -p "$port" -h /run/www
        wait_for_port "$port"
        curl --silent "http://127.0.0.1:$port/"'
      portmap list
      """
    )
    #expect(lines == ["hello"])
  }

  @Test func units() throws {
    let lines = try shell(
      """
      mkdir /run/units
      cp systemd/*.service systemd/*.socket /run/units
      sed -i "s|/usr/share/doc/portmap/recipes|$PWD|; s|/usr/bin/portmap|/run/bin/portmap|" /run/units/*
      systemd-analyze verify --man=no /run/units/*.service /run/units/*.socket 2>&1 | grep -e portmap || true
      """
    )
    #expect(lines.isEmpty)
  }
}
