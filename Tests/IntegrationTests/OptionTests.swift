import Foundation
import Testing

/// Options and commands as such: what is known, what excludes what, where each may stand.
@Suite struct OptionTests {
  @Test func versionAndHelp() throws {
    try withHost { portmap, _ in
      #expect(try portmap("--version").stdout.wholeMatch(of: /portmap \d+\.\d+\.\d+\n/) != nil)
      #expect(try portmap("--help").stdout.contains("alloc"))
      #expect(try portmap("-h").stdout.contains("unmap"))
      for command in ["map", "unmap", "alloc", "list", "proxy"] {
        let help = try portmap(command, "--help")
        #expect(help.stdout.contains(command) && help.stderr.isEmpty, "\(help)")
        #expect(try portmap(command, "-h").stdout == help.stdout)
      }
    }
  }

  @Test(arguments: [
    [], ["frobnicate"], ["map"], ["map", "--frobnicate", "80"], ["map", "--to"], ["map", "80", "--to", ""],
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
    ["alloc", "--ip", "--", "true"], ["alloc", "--netns", "web", "--", "true"], ["--json", "list"],
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
    (["--json", "list"], "portmap --help lists them"),
    (["map", "80", "10.99.0.2"], "the backend goes with --to"),
  ])
  func hints(_ arguments: [String], _ hint: String) throws {
    try withHost { portmap, _ in
      let outcome = try portmap.run(arguments, status: 2)
      #expect(outcome.stderr.hasSuffix("\nhint: \(hint)\n"), "\(outcome)")
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
