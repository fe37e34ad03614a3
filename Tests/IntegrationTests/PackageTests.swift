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
    chroot /mnt/root bash -eu -c "$1" "$0"
    # What is left of it, the marks of deleted files aside.
    find /mnt/upper ! -type c -path '*portmap*'
    echo done
    """

  private static let inside = """
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
    rm -f /usr/local/bin/portmap
    dpkg --install "$0"/*.deb >/dev/null
    [ "$(command -v portmap)" = /usr/bin/portmap ]
    portmap --version
    for file in /usr/share/man/man8/portmap.8.gz /usr/share/bash-completion/completions/portmap \\
      /usr/share/zsh/vendor-completions/_portmap /usr/share/fish/vendor_completions.d/portmap.fish \\
      /usr/lib/systemd/system/portmap.service /etc/portmap.conf; do
      [ -s "$file" ]
    done
    /usr/libexec/portmap/docker-proxy -v
    grep -q '^ExecStart=/usr/bin/portmap apply --watch$' /usr/lib/systemd/system/portmap.service
    [ ! -e /etc/systemd/system/multi-user.target.wants/portmap.service ]
    # Comments only: nothing is made until somebody says so.
    ! grep -v '^#' /etc/portmap.conf
    portmap apply
    CNI_COMMAND=VERSION /usr/libexec/portmap/cni/portmap </dev/null | cut -c 1-22
    dpkg-query --show --showformat '${Depends}\\n' portmap
    "$0/demo" /usr/bin/portmap >/dev/null
    # An upgrade leaves alone what is there, a removal takes it away.
    portmap alloc 8080
    echo 'alloc 8081' >>/etc/portmap.conf
    dpkg --install "$0"/*.deb >/dev/null
    tail -n 1 /etc/portmap.conf
    portmap list
    dpkg --remove portmap >/dev/null
    [ ! -e /usr/bin/portmap ] && [ ! -e /usr/libexec/portmap ]
    [ -z "$(ss -Hltn sport = 8080)" ]
    dpkg --purge portmap >/dev/null
    [ ! -e /etc/portmap.conf ]
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
    let proxy = version.replacing("portmap", with: "docker-proxy (portmap) version")
    let plugin = #"{"cniVersion":"1.1.0","#
    let wanted = [
      version, proxy, plugin, "iptables, iproute2", "8080", "alloc 8081", "PORT  BY        ID", "8080 …",
      "done",
    ]
    #expect(shown.map { String($0) } == wanted, "\(outcome)")
  }

  /// The version stands in one file of the sources; packages ask the program, and the change log is compared here.
  @Test func theVersionStandsInOnePlace() throws {
    let version = try run([Tools.portmap, "--version"]).lines[0].replacing("portmap ", with: "")
    let sources = Tools.repository.path
    let places =
      ["README.md", "CONTRIBUTING.md", "Makefile", "Package.swift"]
      + ["Sources", "man", "completions", "packaging", "recipes"]
    let files = try run(
      ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--word-regexp", version]
        + places.map { sources + "/" + $0 }
    )
    #expect(files.lines == [sources + "/Sources/portmap/CLI/CommandTable.swift"])
    let log = try String(contentsOfFile: sources + "/CHANGELOG.md", encoding: .utf8)
    let headings = log.matches(of: /(?m)^## \[(.*?)\]/).map { String($0.1) }
    #expect(headings.prefix(2) == ["Unreleased", version])
  }

  @Test func installBelowPrefixes() throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let install = Tools.repository.appendingPathComponent("packaging/install").path
    try run([install, Tools.portmap, folder + "/usr/local", "site-functions", "/usr/local"])
    let unit = folder + "/usr/local/lib/systemd/system/portmap.service"
    #expect(
      try String(contentsOfFile: unit, encoding: .utf8).contains("ExecStart=/usr/local/bin/portmap apply")
    )
    for file in [
      "bin/portmap", "share/man/man8/portmap.8", "share/zsh/site-functions/_portmap",
      "share/bash-completion/completions/portmap", "share/fish/vendor_completions.d/portmap.fish",
      "share/doc/portmap/portmap.conf",
    ] {
      #expect(FileManager.default.fileExists(atPath: folder + "/usr/local/" + file), "\(file)")
    }
    try run([folder + "/usr/local/libexec/portmap/docker-proxy", "-v"])
    try run(
      [folder + "/usr/local/libexec/portmap/cni/portmap"],
      environment: ["CNI_COMMAND": "VERSION"]
    )
  }
}
