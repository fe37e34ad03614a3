import Testing

@testable import portmap

/// Calls of map that cannot be, and what is offered in their place.
@Suite struct MapCorrectionTests {
  private var options: [OptionDefinition] { CommandTable.command("map")?.allOptions ?? [] }

  private func words(_ line: String) -> [String] { line.split(separator: " ").map(String.init) }

  /// The hint of the failure of a line.
  private func hint(_ line: String) throws -> String? {
    let failure = #expect(throws: Failure.self) {
      let arguments = try ParsedArguments(words(line), options: options, startsCommand: true)
      _ = try MapRequest(arguments, Context(arguments, environment: [:]))
    }
    #expect(failure?.status == .usage)
    return failure?.hint
  }

  @Test(arguments: [
    // A backend in the place of a spec.
    ("172.16.42.2:80", "80 --to 172.16.42.2"), ("172.16.42.2:53/udp", "53/udp --to 172.16.42.2"),
    ("[fd00::2]:80", "80 --to fd00::2"), ("web:80", "80 --to web"),
    ("8080 172.16.42.2:80", "8080:80 --to 172.16.42.2"), ("8080 web:80", "8080:80 --to web"),
    ("192.0.2.1:80 --to web", "192.0.2.1:80:80 --to web"),
    ("[2001:db8::1]:80 --to web", "'[2001:db8::1]:80:80' --to web"),
    // A backend beside or within it.
    ("8080:80 172.16.42.2", "8080:80 --to 172.16.42.2"), ("8080:80 web", "8080:80 --to web"),
    ("172.16.42.2 8080:80", "8080:80 --to 172.16.42.2"),
    ("8080:80 fd00::2 --masquerade", "8080:80 --to fd00::2 --masquerade"),
    ("8080:172.16.42.2:80", "8080:80 --to 172.16.42.2"), ("8080:web:80/udp", "8080:80/udp --to web"),
    ("8080:[fd00::2]:80", "8080:80 --to fd00::2"),
    ("8080:80 --to 172.16.42.2:80", "8080:80 --to 172.16.42.2"),
    ("8080 --to 172.16.42.2:80", "8080:80 --to 172.16.42.2"),
    // Docker's.
    ("localhost:8080:80 --to web", "127.0.0.1:8080:80 --to web"),
    ("host:8080:80 --to web", "8080:80 --to web"), ("8080/udp:80/udp --to web", "8080:80/udp --to web"),
    ("8080/tcp:80 --to web", "8080:80 --to web"),
    // The protocol.
    ("8080:80/TCP --to web", "8080:80 --to web"), ("53:53/UDP --to web", "53:53/udp --to web"),
    ("53:53/tcp/udp --to web", "53:53/tcp+udp --to web"),
    // What else is said stays.
    ("172.16.42.2:80 --range 1-9 -q", "80 --to 172.16.42.2 --range 1-9 -q"),
    ("172.16.42.2:80 -- sh a;b", "80 --to 172.16.42.2 -- sh 'a;b'"),
  ])
  func corrected(line: String, call: String) throws {
    let hint = try #require(try hint(line))
    #expect(hint.replacing("the backend goes with --to: ", with: "") == "portmap map \(call)")
  }

  /// What is offered is a call that can be.
  @Test(arguments: ["8080:80:90:100", "90-80", "8000-8010:80-91", "70000", "::1:80:80", "", "x y"])
  func notGuessed(_ line: String) throws {
    let arguments = try ParsedArguments([line], options: options, startsCommand: true)
    #expect(MapCorrection(arguments).command == nil)
  }

  @Test(arguments: [
    ("-p 8080:80 --to web", "8080:80 --to web"), ("-p8080:80 --to web", "8080:80 --to web"),
    ("--publish 8080:80 --to web", "8080:80 --to web"), ("--publish=8080:80 --to web", "8080:80 --to web"),
    ("-p 8080:80 -p 53:53/udp --to web", "8080:80 53:53/udp --to web"),
    ("-p 127.0.0.1:8080:80 172.16.42.2", "127.0.0.1:8080:80 --to 172.16.42.2"),
    ("-p localhost:8080:80 --to web", "127.0.0.1:8080:80 --to web"),
  ])
  func publish(line: String, call: String) {
    #expect(MapCorrection.withoutPublish(words(line), options: options) == "portmap map \(call)")
  }

  @Test func publishAlone() {
    #expect(MapCorrection.withoutPublish(["8080:80"], options: options) == nil)
    #expect(MapCorrection.withoutPublish(["-p"], options: options) == nil)
    #expect(MapCorrection.withoutPublish(["--publisher", "80"], options: options) == nil)
  }

  @Test(arguments: [
    ("80:8080", "8080:80"), ("127.0.0.1:80:8080/udp", "127.0.0.1:8080:80/udp"),
    ("53:5353/tcp+udp", "5353:53/tcp+udp"),
  ])
  func swappedPorts(spec: String, swapped: String) throws {
    let arguments = try ParsedArguments([spec, "--to", "web"], options: options, startsCommand: true)
    let request = try MapRequest(arguments, Context(arguments, environment: [:]))
    #expect(request.swappedPorts == "the host's port comes first: \(swapped) is the other way round")
  }

  @Test(arguments: ["8080:80", "80:80", "80", "22:222", "8080:9090"])
  func notSwapped(_ spec: String) throws {
    let arguments = try ParsedArguments([spec, "--to", "web"], options: options, startsCommand: true)
    #expect(try MapRequest(arguments, Context(arguments, environment: [:])).swappedPorts == nil)
  }
}
