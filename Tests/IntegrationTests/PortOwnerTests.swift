import Foundation
import Testing

/// Who has a port that cannot be had, and what stands behind that.
@Suite struct PortOwnerTests {
  /// A program that holds a tcp port, called as somebody else would be.
  private static let holder = """
    import ctypes, os, socket, sys, time
    ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
    taken = socket.create_server(("0.0.0.0", int(sys.argv[2])))
    print("ready", flush=True)
    open("/run/ready", "w").close()
    while not os.path.exists("/run/over"): time.sleep(0.05)
    """

  /// A daemon of docker's that knows one container.
  private static let daemon = """
    import http.server, json, os, socketserver, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps([{"Names": ["/shop"], "NetworkSettings":
                {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}}}]).encode()
            assert self.path == "/containers/json"
            self.send_response(200); self.end_headers(); self.wfile.write(body)
        def address_string(self): return "x"
    class Server(socketserver.UnixStreamServer):
        pass
    server = Server("/run/docker.sock", Handler)
    print("ready", flush=True)
    server.serve_forever()
    """

  /// Runs a script with a /run of its own, process ids of its own where it asks for them, and the program as `$0`.
  private func say(_ host: Namespace, _ portmap: Portmap, _ script: String, _ arguments: [String] = []) throws
    -> String
  {
    let outcome = try host.exec(
      ["unshare", "--mount"] + arguments + [
        "sh", "-c", "mount -t tmpfs none /run; " + script, portmap.binary,
      ],
      environment: ["HOLDER": Self.holder, "DAEMON": Self.daemon, "PORTMAP_STATE_DIR": portmap.state],
      status: nil
    )
    return outcome.stdout + outcome.stderr
  }

  @Test func dockersProxyAndItsContainer() throws {
    try withHost { portmap, host in
      let proxy =
        "python3 -c \"$HOLDER\" docker-proxy 8080 -proto tcp -container-ip 172.17.0.2 -container-port 80"
      let map = "\"$0\" map --proxy-only 8080:80 --to 192.0.2.7"
      let alone = try say(host, portmap, "\(proxy) | { read ready; \(map); pkill -P $$ python3; }")
      #expect(
        alone.contains("portmap: cannot map 8080: address already in use\nhint: docker-proxy (process "),
        "\(alone)"
      )
      #expect(alone.contains(", for a container at 172.17.0.2:80) has it"), "\(alone)")
      let named = try say(
        host,
        portmap,
        "python3 -c \"$DAEMON\" | { read ready; \(proxy) | { read ready; \(map); pkill -P $$ python3; }; }"
      )
      #expect(named.contains(", for container shop at 172.17.0.2:80) has it"), "\(named)")
    }
  }

  /// systemd listens itself; which unit it is for, it has to be asked.
  @Test(arguments: [true, false])
  func systemdsSockets(isRunning: Bool) throws {
    try withHost { portmap, host in
      let script = """
        mkdir -p /run/bin; PATH=/run/bin:$PATH
        printf '#!/bin/sh\\necho "[::]:22 ssh.socket -"; echo "0.0.0.0:8080 shop.socket -"\\n' >/run/bin/systemctl
        chmod 755 /run/bin/systemctl
        \(isRunning ? "mkdir -p /run/systemd/system" : "")
        sh -c 'until [ -e /run/ready ]; do sleep 0.05; done; "$0" alloc 8080; touch /run/over' "$0" &
        exec python3 -c "$HOLDER" systemd 8080
        """
      let said = try say(host, portmap, script, ["--pid", "--fork", "--kill-child", "--mount-proc"])
      let unit = isRunning ? "shop.socket" : "a socket unit"
      #expect(said.contains("hint: systemd (process 1, for \(unit)) has it"), "\(said)")
    }
  }
}
