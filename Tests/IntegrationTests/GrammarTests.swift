import Foundation
import Testing

/// Every form that the grammar has no place for: status 2, the form quoted, nothing tried.
@Suite struct GrammarTests {
  private static let badSpecs = [
    "80/", "80/tcp/udp", "80/TCP", "80/Udp", "80/icmp", "80/udp+tcp", "80/tcp+tcp", "1:2:3:4", "+80", "-80",
    "80 ",
    " 80", "80\n", "8 0", "65536", "99999999999999999999", "0x50", "90-80", "8000-8010:80-91",
    "8000-8001:80-90",
    "::1:80:80", "[::1]80:80", "[::1:80:80", "::1]:80:80", "", ":", "::", "80:", "8080:", "8080:0", "0",
    "0:0",
    "٨٠", "80-", "-90:80", "80--90", "80-90-95", "80:90-", "/tcp", ":/tcp", "localhost:8080:80", "192.0.2.1",
    "192.0.2:80:80",
    "192.0.2.256:80:80", "192.0.2.01:80:80", "224.0.0.1:80:80", "255.255.255.255:80:80", "[ff02::1]:80:80",
    "[fe80::1%eth0]:80:80", "[::ffff:192.0.2.1]:80:80", "8080:80:udp", "8080:80/sctp+tcp", "8080,8081:80",
    "*:80:80",
  ]

  private static let badPortSpecs = [
    "80/", "80/TCP", "80:80:80", "+80", "80 ", "65536", "90-80", "", "٨٠", "80-", "[::1]:80/", "::1:80",
    "80/tcp/udp",
    "localhost:80", "224.0.0.1:80", "[::ffff:192.0.2.1]:80",
  ]

  private static let badBackends = [
    "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "::ffff:192.0.2.1", "fe80::1%eth0",
    "10.99.0.2:80",
  ]

  @Test func specsAreRefused() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      for spec in Self.badSpecs {
        let outcome = try portmap("map", "--to", "10.99.0.2", spec, status: nil)
        expectRefusal(outcome, quoting: spec)
      }
      try expectNothingTried(portmap, host, before)
    }
  }

  @Test func portSpecsAreRefused() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      for spec in Self.badPortSpecs {
        expectRefusal(try portmap("alloc", spec, status: nil), quoting: spec)
      }
      try expectNothingTried(portmap, host, before)
    }
  }

  @Test func backendsAreRefused() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      for backend in Self.badBackends {
        expectRefusal(try portmap("map", "--to", backend, "8080:80", status: nil), quoting: backend)
      }
      try expectNothingTried(portmap, host, before)
    }
  }

  @Test func oneBadSpecSpoilsTheCall() throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      expectRefusal(
        try portmap("map", "--to", "10.99.0.2", "8080:80", "8081:80/TCP", status: nil),
        quoting: "8081:80/TCP"
      )
      expectRefusal(try portmap("alloc", "8080", "8081/", status: nil), quoting: "8081/")
      try expectNothingTried(portmap, host, before)
    }
  }

  @Test(arguments: [
    ["8080:80", "8080:81"], ["8080:80", "8000-8100:8000-8100"], ["8080:80/tcp+udp", "8080:80/udp"],
    ["8080:80", "127.0.0.1:8080:80"], ["[::1]:8080:80", "[::1]:8080:81"],
    ["192.0.2.1:8080:80", "0.0.0.0:8080:80"],
  ])
  func samePortTwiceInOneCall(_ specs: [String]) throws {
    try withHost { portmap, host in
      let before = try host.snapshot()
      let outcome = try portmap.run(["map", "--to", "10.99.0.2"] + specs, status: nil)
      #expect(outcome.status == 2, "\(outcome)")
      #expect(outcome.stderr.contains("8080"), "\(outcome)")
      try expectNothingTried(portmap, host, before)
    }
  }

  @Test func malformedUnmapTargetsReleaseNothing() throws {
    try withHost { portmap, host in
      let port = try portmap.allocate()
      for target in ["80/TCP", "65536", "90-80", "", "8080 ", "+80", "80/tcp/udp"] {
        expectRefusal(try portmap("unmap", "\(port)", target, status: nil), quoting: target)
      }
      #expect(try host.sockets(.tcp, port).count == 1)
    }
  }

  private func expectRefusal(
    _ outcome: Outcome,
    quoting spec: String,
    at location: SourceLocation = #_sourceLocation
  ) {
    #expect(outcome.status == 2, "\(spec.debugDescription): \(outcome)", sourceLocation: location)
    #expect(outcome.stdout.isEmpty, "\(outcome)", sourceLocation: location)
    #expect(outcome.stderr.hasPrefix("portmap: "), "\(outcome)", sourceLocation: location)
    let quoted = "'\(spec.replacing("\n", with: "\\x0a"))'"
    #expect(outcome.stderr.contains(quoted), "\(outcome)", sourceLocation: location)
    // What begins with a dash is no spec, but an option that nobody knows.
    let says = spec.hasPrefix("-") ? "unknown option" : "expected "
    #expect(outcome.stderr.contains(says), "\(outcome)", sourceLocation: location)
  }

  private func expectNothingTried(
    _ portmap: Portmap,
    _ host: Namespace,
    _ before: Snapshot,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    try host.expectUnchanged(before, at: location)
    #expect(!FileManager.default.fileExists(atPath: portmap.state), sourceLocation: location)
  }
}
