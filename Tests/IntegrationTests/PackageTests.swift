import Foundation
import Testing

/// The Debian package: installed over a copy of this machine's files that nobody else sees, used, and removed.
@Suite struct PackageTests {
  private static let script = """
    set -eu
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
    for folder in proc sys dev tmp; do mount --rbind /$folder /mnt/root/$folder; done
    mount -t tmpfs tmpfs /mnt/root/run
    cd /
    exec chroot /mnt/root bash -eu -c "$1" "$0"
    """

  private static let inside = """
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
    rm -f /usr/local/bin/portmap
    find / -xdev | sort >/run/before
    dpkg --install "$0"/*.deb >/dev/null
    [ "$(command -v portmap)" = /usr/bin/portmap ]
    portmap --version
    for file in /usr/share/man/man8/portmap.8.gz /usr/share/bash-completion/completions/portmap \\
      /usr/share/zsh/vendor-completions/_portmap /usr/share/fish/vendor_completions.d/portmap.fish; do
      [ -s "$file" ]
    done
    dpkg-query --show --showformat '${Depends} / ${Recommends}\\n' portmap
    "$0/demo" /usr/bin/portmap >/dev/null
    # An upgrade leaves alone what is there, a removal takes it away.
    portmap alloc 8080
    dpkg --install "$0"/*.deb >/dev/null
    portmap list
    dpkg --remove portmap >/dev/null
    [ ! -e /usr/bin/portmap ]
    [ -z "$(ss -Hltn sport = 8080)" ]
    find / -xdev | sort | diff /run/before - | grep -i portmap || true
    echo done
    """

  @Test func installAndRemove() throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let host = try Namespace("h", cleanup)
    let sources = Tools.repository.path
    try run(
      [sources + "/packaging/deb", Tools.portmap, folder],
      environment: ["PORTMAP_DEB_COMPRESSION": "none"],
      timeout: 60
    )
    try run(["cp", sources + "/Tests/demo", folder])
    let outcome = try host.exec(
      [
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", Self.script,
        folder, Self.inside,
      ],
      timeout: 120
    )
    let version = try run([Tools.portmap, "--version"]).lines[0]
    let shown = outcome.stdout.replacing(#/(?m)^8080 .*/#, with: "8080 …").split(separator: "\n")
    let wanted = [version, "iptables, iproute2 / conntrack", "8080", "PORT  BY        ID", "8080 …", "done"]
    #expect(shown.map { String($0) } == wanted, "\(outcome)")
  }

  @Test func installBelowPrefixes() throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let install = Tools.repository.appendingPathComponent("packaging/install").path
    try run([install, Tools.portmap, folder + "/usr/local", "site-functions"])
    for file in [
      "bin/portmap", "share/man/man8/portmap.8", "share/zsh/site-functions/_portmap",
      "share/bash-completion/completions/portmap", "share/fish/vendor_completions.d/portmap.fish",
    ] {
      #expect(FileManager.default.fileExists(atPath: folder + "/usr/local/" + file), "\(file)")
    }
  }
}
