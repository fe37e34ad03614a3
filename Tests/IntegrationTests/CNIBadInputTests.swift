import Foundation
import Testing

/// Whatever comes in, what goes out is one JSON document with the specification's code, and nothing is left.
@Suite struct CNIBadInputTests {
  typealias Address = Topology.Address

  /// Runs a test with nothing but a namespace, and sees that it leaves nothing.
  private func withRuntime(_ body: (CNIRuntime) throws -> Void) throws {
    let cleanup = Cleanup()
    defer { cleanup.run() }
    let folder = try makeFolder(cleanup)
    let host = try Namespace("h", cleanup)
    let before = try host.snapshot()
    let portmap = Portmap(host, state: folder + "/state", cleanup)
    try body(try CNIRuntime(portmap, folder: folder))
    #expect(try portmap.list().isEmpty)
    try host.expectUnchanged(before)
  }

  private func code(_ outcome: Outcome) throws -> Int {
    let failure: CNIFailure = try outcome.json()
    #expect(!failure.msg.isEmpty && !failure.details.isEmpty && !failure.details.contains("\n"))
    #expect(!outcome.stdout.contains("--"), "\(outcome)")
    return failure.code
  }

  @Test func configurations() throws {
    try withRuntime { runtime in
      let cases: [(String, Int)] = [
        ("", 6), ("garbage", 6), ("[]", 6), ("{\"name\":\"net\"", 6), ("\u{0}\u{1}", 6),
        (String(repeating: "[", count: 100_000), 6), (String(repeating: "x", count: 5_000_000), 6),
        (#"{"cniVersion":"9.9.9","name":"net"}"#, 1), (#"{"cniVersion":1,"name":"net"}"#, 6),
        (#"{"cniVersion":"1.0.0","name":"a/../b","prevResult":{}}"#, 7),
        (#"{"cniVersion":"1.0.0","name":"a\nb","prevResult":{}}"#, 7), (#"{"cniVersion":"1.0.0"}"#, 7),
        (try runtime.configuration([PortMapping(80, 80)]), 7),
        (try runtime.configuration([PortMapping(80, 80)], ["ips": [["address": "nonsense"]]]), 7),
        (try runtime.configuration([PortMapping(80, 80)], ["ips": "nonsense"]), 6),
        (try runtime.configuration([PortMapping(80, 80)], runtime.result()), 7),
        (try runtime.configuration([PortMapping(0, 80)], runtime.result("10.1.0.5/16")), 7),
        (try runtime.configuration([PortMapping(80, 80, "\u{1b}[31m")], runtime.result("10.1.0.5/16")), 7),
        (
          try runtime.configuration([PortMapping(80, 80, on: "192.0.2.77")], runtime.result("10.1.0.5/16")), 7
        ),
      ]
      for (text, expected) in cases {
        let outcome = try runtime.raw("ADD", text, status: 1, timeout: 60)
        #expect(try code(outcome) == expected, "\(text.prefix(80)): \(outcome)")
      }
      for text in ["", "garbage", "[]"] { #expect(try code(runtime.raw("DEL", text, status: 1)) == 6) }
      #expect(try code(runtime.raw("VERSION", "garbage", status: 1)) == 6)
      try runtime.raw("VERSION", "")
    }
  }

  @Test func environments() throws {
    try withRuntime { runtime in
      let text = try runtime.configuration([PortMapping(80, 80)], runtime.result("10.1.0.5/16"))
      for (name, value) in [
        ("CNI_CONTAINERID", ""), ("CNI_CONTAINERID", "a/b"), ("CNI_CONTAINERID", "a\nb"), ("CNI_IFNAME", ""),
        ("CNI_IFNAME", "../eth0"), ("CNI_NETNS", ""), ("CNI_COMMAND", "EAT"),
      ] {
        let outcome = try runtime.raw("ADD", text, variables: [name: value], status: 1)
        #expect(try code(outcome) == 4 && outcome.stdout.contains(name), "\(outcome)")
      }
      // Without that variable, it is a command as any other.
      let outcome = try runtime.raw("", text, status: 2)
      #expect(outcome.stdout.isEmpty && outcome.stderr.contains("portmap map"))
    }
  }

  @Test func delNeedsNothingButNames() throws {
    try withRuntime { runtime in
      let variables = ["CNI_NETNS": ""]
      for rest in [
        [:], ["prevResult": 7], ["prevResult": ["ips": "nonsense"]], ["prevResult": ["cniVersion": "9"]],
        ["runtimeConfig": "x", "markMasqBit": 99, "snat": "no"],
      ] as [[String: Any]] {
        let outcome = try runtime.raw("DEL", runtime.configuration([], nil, rest), variables: variables)
        #expect(outcome.stdout.isEmpty)
      }
    }
  }

  @Test func standardDescriptors() throws {
    try withTopology { topology in
      let runtime = try CNIRuntime(topology)
      let before = try topology.host.snapshot()
      let text = try runtime.configuration([PortMapping(8080, 80)], runtime.result(Address.web + "/24"))
      let file = topology.folder + "/conf"
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
      let variables = [
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/x", "CNI_IFNAME": "eth0",
        "PORTMAP_STATE_DIR": topology.portmap.state,
      ]
      for redirection in ["<\"$1\" >&-", "<\"$1\" >/dev/full"] {
        let script = "exec \"$0\" \(redirection)"
        let words = ["sh", "-c", script, runtime.path("portmap"), file]
        try topology.host.exec(words, environment: variables, status: 1)
        #expect(try topology.portmap.list().isEmpty, "undone: nobody has heard of it")
        try topology.host.expectUnchanged(before)
      }
      let words = ["sh", "-c", "exec \"$0\" <&-", runtime.path("portmap")]
      #expect(try code(topology.host.exec(words, environment: variables, status: 1)) == 5)
      let folder = ["sh", "-c", "exec \"$0\" </tmp", runtime.path("portmap")]
      #expect(try code(topology.host.exec(folder, environment: variables, status: 1)) == 5)
    }
  }

  @Test func aResultOfManyAddresses() throws {
    try withTopology { topology in
      let runtime = try CNIRuntime(topology)
      let count = 1_000_000
      let others = String(repeating: #"{"address":"10.0.0.7/8","interface":0},"#, count: count)
      let text = #"""
        {"cniVersion":"1.0.0","name":"net","runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80}]},
        "prevResult":{"interfaces":[{"name":"br0"},{"name":"eth0","sandbox":"/x"}],"ips":[\#(others)
        {"address":"\#(Address.web)/24","interface":1}]}}
        """#
      let outcome = try runtime.raw("ADD", text, timeout: 120)
      #expect(outcome.stdout.utf8.count > count * 20)
      #expect(try topology.portmap.list().mappings.map(\.backendIP) == [Address.web])
      try runtime.raw("DEL", text, timeout: 120)
      #expect(try topology.portmap.list().isEmpty)
    }
  }

  /// The state cannot be read: that, and nothing less, makes DEL fail.
  @Test func aDamagedState() throws {
    try withTopology { topology in
      let runtime = try CNIRuntime(topology)
      let result = runtime.result(Address.web + "/24")
      try runtime.portmap("ADD", "c1", [PortMapping(8080, 80)], behind: result)
      let file = URL(fileURLWithPath: topology.portmap.state + "/state.json")
      let state = try Data(contentsOf: file)
      try Data("{}".utf8).write(to: file)
      #expect(try code(runtime.portmap("DEL", "c1", status: 1)) == 5)
      #expect(try code(runtime.portmap("ADD", "c2", [PortMapping(8081, 80)], behind: result, status: 1)) == 5)
      try state.write(to: file)
      // Rules that cannot be taken away wait; the port is free.
      var broken = runtime
      let shims = topology.folder + "/broken"
      try run(["mkdir", shims])
      try run([
        "sh", "-c", "printf '#!/bin/sh\\nexit 4\\n' >\"$0\" && chmod +x \"$0\"", shims + "/iptables-restore",
      ])
      broken.prefix = ["env", "PATH=\(shims):\(Tools.searchPath)"]
      let outcome = try broken.portmap("DEL", "c1")
      #expect(outcome.stdout.isEmpty && !outcome.stderr.isEmpty)
      #expect(try topology.portmap.list().isEmpty)
      try topology.portmap("check", status: 1)
      try runtime.portmap("ADD", "c2", [PortMapping(8080, 80)], behind: result)
      try topology.portmap("check")
    }
  }
}
