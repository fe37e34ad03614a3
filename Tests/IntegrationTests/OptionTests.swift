import Foundation
import Testing

/// The options and commands that are known, the options that exclude each other, and where each may stand.
@Suite struct OptionTests {
  @Test func versionAndHelp() throws {
    try withHost { portmap, _ in
      #expect(try portmap("--version").stdout.wholeMatch(of: /portmap \d+\.\d+\.\d+\n/) != nil)
      #expect(try portmap("--help").stdout.contains("alloc"))
      #expect(try portmap("-h").stdout.contains("unmap"))
      for command in ["map", "unmap", "alloc", "list", "proxy", "check", "repair"] {
        let help = try portmap(command, "--help")
        #expect(help.stdout.contains(command) && help.stderr.isEmpty, "\(help)")
        #expect(help.stdout.contains("\nExample:\n") && help.stdout.contains("\nExit status:\n"), "\(help)")
        for arguments in [
          [command, "-h"], ["-h", command], ["help", command], [command, "80", "--nonsense", "-qh"],
        ] {
          #expect(try portmap.run(arguments).stdout == help.stdout, "\(arguments)")
        }
      }
    }
  }

  @Test func portmapAlone() throws {
    try withHost { portmap, _ in
      let outcome = try portmap.run([], status: 2)
      #expect(outcome.stdout.isEmpty)
      #expect(outcome.stderr == (try portmap("--help").stdout))
    }
  }

  @Test(arguments: [
    ["-q"], ["--json"], ["frobnicate"], [""], ["--"], ["-"], ["help", "frobnicate"], ["help", "map", "list"],
    ["--to", "10.99.0.2", "map", "80"], ["-c2", "alloc"], ["-n", "list"], ["-n", "check"], ["-qx", "list"],
    ["list", "-qn"], ["list", "--", "-h"], ["alloc", "-c=2"], ["alloc", "-qc"],
    ["--state-dir", "/x", "list", "--state-dir", "/y"], ["alloc", "--"], ["map", "80", "--"],
    ["unmap", "--", "-q"], ["check", "--", "8080/"], ["repair", "8080"], ["list", "--json=1"],
    ["alloc", "--ip", "--subnet", "10.77.0.0/024"], ["alloc", "--ip", "--lend"],
    ["alloc", "--ip", "--host-ip", "127.0.0.1"], ["alloc", "--netns", "web", "--range", "1-2"],
    ["alloc", "--netns", "web", "--name", "db"], ["alloc", "--bridge", "br0"], ["alloc", "-c2", "8080"],
    ["map", "--masquerade", "--proxy-only", "80", "--to", "10.99.0.2"], ["map", "-c2", "80"],
    ["map", "--bridge", "br0", "--to", "10.99.0.2", "80"], ["map", "--lend", "80"],
    ["map", "80", "--host-ip="],
    ["map", "80", "--range="], ["map", "80", "--bridge="],
    ["map", "80", "--proxy-only", "--proxy-protocol="],
    ["map", "--to", "10.99.0.2", "--to", "10.99.0.2", "80"], ["alloc", "--name=", "--ip"],
    ["alloc", "--netns="],
    ["map", "--host-ip", "192.0.2.1", "--host-ip", "192.0.2.1", "80", "--to", "10.99.0.2"],
    ["alloc", "--range", "8000-٨٠١٠"], ["alloc", "-c٢"], ["proxy", "8080", "10.99.0.2:٨٠"],
    ["proxy", "--udp-timeout=", "8080", "10.99.0.2:80"], ["proxy", "--to", "10.99.0.2", "8080"],
    ["unmap", "--if-exists"], ["exec", "true"], ["exec"], ["hold", "a0000000", "0", "0"],
    ["proxy", "8080", "10.99.0.2:80", "127.0.0.1:8080", "10.99.0.2:81"],
    ["proxy", "8080/tcp+udp", "10.99.0.2:80", "8079-8081/udp", "10.99.0.2:80-82"], ["map"],
    ["map", "--frobnicate", "80"], ["map", "--to"],
    ["map", "80", "--to", ""],
    ["map", "--no-proxy", "--proxy-only", "80", "--to", "10.99.0.2"],
    ["map", "--proxy-protocol", "v1", "80", "--to", "10.99.0.2"],
    ["map", "--proxy-only", "--proxy-protocol", "v3", "80", "--to", "10.99.0.2"],
    ["map", "--proxy-only", "--proxy-protocol", "v1", "80/udp", "--to", "10.99.0.2"],
    ["map", "--host-ip", "127.0.0.1", "127.0.0.1:80:80", "--to", "10.99.0.2"],
    ["map", "--host-ip", "localhost", "80:80", "--to", "10.99.0.2"],
    ["map", "--all", "80", "--to", "10.99.0.2"], ["map", "--range", "9-8", "80", "--to", "10.99.0.2"],
    ["map", "--quiet=yes", "80", "--to", "10.99.0.2"], ["map", "--to", "9lives", "80"],
    ["map", "--to", "a-name-of-16-chars", "80"], ["map", "--bridge", "no/slash", "80"],
    ["alloc", "--to", "10.99.0.2"], ["alloc", "-c", "0"], ["alloc", "-c", "-1"], ["alloc", "-c", "many"],
    ["alloc", "--ip", "8080"], ["alloc", "--ip", "-c", "2"],
    ["alloc", "--ip", "--", "true"], ["alloc", "--netns", "web", "--", "true"],
    ["alloc", "--name", "web"],
    ["alloc", "--subnet", "10.77.0.0/24"], ["alloc", "--ip", "--netns", "web"],
    ["alloc", "--ip", "--name", "deadbeef"], ["alloc", "--ip", "--subnet", "10.77.0.0"],
    ["alloc", "--ip", "--subnet", "10.77.0.0/33"], ["alloc", "--host-ip", "127.0.0.1", "127.0.0.1:8080"],
    ["alloc", "--lend", "8080/udp"], ["unmap"], ["unmap", "--to", "10.99.0.2", "8080"],
    ["unmap", "--all", "8080"],
    ["list", "--all"], ["list", "-n"], ["proxy", "-n", "8080", "10.99.0.2:80"], ["proxy"], ["proxy", "8080"],
    ["proxy", "8080", "10.99.0.2"], ["proxy", "8080", "10.99.0.2:0"], ["proxy", "8080", "web:80"],
    ["proxy", "8080/udp", "10.99.0.2:80", "--proxy-protocol", "v2"],
    ["proxy", "--udp-timeout", "0", "8080", "10.99.0.2:80"],
    ["proxy", "8080-8081", "10.99.0.2:80-82"], ["list", "--state-dir"],
    ["map", "--into", "web", "--no-proxy", "80"], ["map", "--into", "web", "--masquerade", "80"],
    ["map", "--into", "web", "--bridge", "br0", "80"], ["map", "--into", "web", "--to", "web", "80"],
    ["map", "--into=", "80"], ["map", "--into", ".", "80"], ["map", "--into", "web", "--into", "db", "80"],
    ["map", "--into", "web", "--to", "0.0.0.0", "80"], ["alloc", "--into", "web"],
    ["map", "--into", "web", "--proxy-protocol", "v1", "80/udp"], ["map", "--into", "web"],
    ["proxy", "--into=", "8080", "10.99.0.2:80"], ["proxy", "--into", "..", "8080", "10.99.0.2:80"],
    ["list", "--state-dir="], ["alloc", "--state-dir", ""],
  ])
  func usageErrors(_ arguments: [String]) throws {
    try withHost { portmap, host in
      let outcome = try portmap.run(arguments, status: 2)
      #expect(outcome.stdout.isEmpty && outcome.stderr.hasPrefix("portmap: "), "\(outcome)")
      #expect(try host.processes().isEmpty)
      #expect(!FileManager.default.fileExists(atPath: portmap.state))
    }
  }

  @Test(arguments: [
    (["lst"], "did you mean list?"), (["map", "--too", "10.99.0.2", "80"], "did you mean --to?"),
    (["--json"], "portmap --help lists the commands"), (["nonsense"], "portmap --help lists the commands"),
    (["--to", "10.99.0.2", "map", "80"], "it goes behind the command: portmap map --to"),
    (["map", "80", "10.99.0.2"], "the backend goes with --to: portmap map 80 --to 10.99.0.2"),
  ])
  func hints(_ arguments: [String], _ hint: String) throws {
    try withHost { portmap, _ in
      let outcome = try portmap.run(arguments, status: 2)
      #expect(outcome.stderr.hasSuffix("\nhint: \(hint)\n"), "\(outcome)")
    }
  }

  /// Swift's runtime aborts there before main begins.
  @Test func withoutProc() throws {
    try withHost { portmap, _ in
      var alone = portmap
      alone.prefix = ["unshare", "--mount", "sh", "-c", #"mount -t tmpfs none /proc && exec "$@""#, "sh"]
      for arguments in [["--version"], ["list"], ["map", "80"]] {
        let outcome = try alone.run(arguments, status: 1)
        #expect(outcome.stdout.isEmpty)
        #expect(outcome.stderr.hasSuffix("\nhint: mount -t proc proc /proc\n"), "\(outcome)")
      }
    }
  }

  /// A call of proxy has no --to.
  @Test func theHelpOfAnOptionNamesOnlyWhatTheCommandHas() throws {
    try withHost { portmap, _ in
      for command in ["map", "unmap", "alloc", "apply", "list", "proxy", "check", "repair"] {
        let help = try portmap(command, "--help").stdout
        let options = try #require(help.split(separator: "\nOptions:\n").last)
          .split(separator: "\nEvery command:\n")[0]
        let terms = Set(options.matches(of: /(?m)^  (-[a-z], )?(--[a-z-]+)/).map { String($0.output.2) })
        let named = Set(options.matches(of: /--[a-z-]+/).map { String($0.output) })
        #expect(named.isSubset(of: terms), "\(command)")
      }
    }
  }

  /// What the environment names is given, too.
  @Test func aBridgeBesideABackend() throws {
    try withHost { portmap, _ in
      var portmap = portmap
      portmap.environment = ["PORTMAP_TO": "10.99.0.2"]
      let outcome = try portmap("map", "--bridge", "br0", "8080:80", status: 2)
      #expect(outcome.stderr.contains("PORTMAP_TO"), "\(outcome)")
      portmap.environment = ["PORTMAP_TO": "nobody!"]
      #expect(try portmap("map", "8080:80", status: 2).stderr.contains("'nobody!' for PORTMAP_TO"))
      portmap.environment = ["PORTMAP_TO": "", "PORTMAP_BRIDGE": "br0"]
      let missing = try portmap("map", "8080:80", status: 1)
      #expect(missing.stderr.contains("br0"), "\(missing)")
    }
  }

  @Test func formsAndPlacesOfOptions() throws {
    try withHost { portmap, host in
      let first = try portmap("alloc", "8001", "--range=8000-8010", "-q")
      #expect(first.stdout == "8001\n")
      #expect(try portmap("alloc", "--range", "8000-8010", "8002").stdout == "8002\n")
      #expect(try portmap("list", "--", "8001").stdout.contains("8001"))
      try portmap("unmap", "--", "8001", "8002")
      #expect(try host.sockets(.tcp, 8001).isEmpty)
      #expect(try portmap("alloc", "-qc2", "8001-8010").stdout == "8001\n8002\n")
      #expect(try portmap("alloc", "-nc2").lines.count == 2)
      #expect(try portmap("-qv", "unmap", "8001").stdout.isEmpty)
      #expect(try portmap("--json", "list", "8002").stdout.hasPrefix("{"))
      #expect(try portmap("-q", "--", "list", "--", "8002").lines.count == 1)
      #expect(try portmap("-n", "unmap", "8002").stdout.isEmpty == false)
      #expect(try portmap("--state-dir", portmap.state + "-other", "-q", "list").stdout.isEmpty)
      #expect(try host.sockets(.tcp, 8002).count == 1)
      try portmap("unmap", "-q", "8002")
    }
  }

  @Test func stateFolderByOption() throws {
    try withHost { portmap, host in
      let folder = portmap.state + "-other"
      #expect(try portmap("alloc", "--state-dir", folder, "8080").stdout == "8080\n")
      #expect(FileManager.default.fileExists(atPath: folder + "/state.json"))
      #expect(try portmap.list().isEmpty)
      #expect(try portmap("list", "-q", "--state-dir=" + folder).lines.count == 1)
      try portmap("unmap", "--all", "--state-dir", folder)
      #expect(try host.processes().isEmpty)
    }
  }
}
