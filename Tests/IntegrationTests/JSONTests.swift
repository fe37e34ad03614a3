import Foundation
import Testing

/// What each command prints with `--json`: one document of the form that stands here, whatever it has to tell.
@Suite struct JSONTests {
  typealias Address = Topology.Address

  /// The form of a document. Keys come sorted and nothing stands between tokens, so a pattern can tell.
  private indirect enum Form: Sendable {
    case text, number, flag
    case array(Form)
    case object([String: Form])
    /// Any keys.
    case dictionary(Form)

    var pattern: String {
      switch self {
      case .text: #""(?:[^"\\]|\\.)*""#
      case .number: "(?:0|[1-9][0-9]*)"
      case .flag: "(?:true|false)"
      case .array(let form): #"\[(?:\#(form.pattern)(?:,\#(form.pattern))*)?\]"#
      case .object(let keys):
        #"\{"#
          + keys.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value.pattern)" }.joined(separator: ",")
          + #"\}"#
      case .dictionary(let form):
        #"\{(?:\#(Form.text.pattern):\#(form.pattern)(?:,\#(Form.text.pattern):\#(form.pattern))*)?\}"#
      }
    }
  }

  private static let pair: [String: Form] = [
    "backendIP": .text, "backendPort": .number, "backendPortEnd": .number, "hostIP": .text,
    "hostPort": .number,
    "hostPortEnd": .number, "protocol": .text,
  ]
  private static let mapping = Form.object(
    pair.merging([
      "connect": .flag, "id": .text, "into": .text, "nat": .flag, "origin": .text, "pid": .number,
      "proxy": .flag,
      "status": .text,
    ]) { $1 }
  )
  private static let reservation = Form.object([
    "hostIP": .text, "id": .text, "origin": .text, "pid": .number, "port": .number, "protocol": .text,
  ])
  private static let address = Form.object([
    "bridge": .text, "gateway": .text, "ip": .text, "name": .text, "origin": .text,
    "portMapping": .dictionary(.dictionary(.text)),
    "prefixLength": .number,
  ])
  private static let list = Form.object([
    "addresses": .array(address), "mappings": .array(mapping), "reservations": .array(reservation),
  ])
  private static let problems = Form.array(.object(["problem": .text, "subject": .text]))
  private static let repairs = Form.array(.object(["done": .text]))

  /// The entries of an array, or of all arrays of an object.
  private func count(_ text: String) throws -> Int {
    let document = try JSONSerialization.jsonObject(with: Data(text.utf8))
    return (document as? [Any])?.count
      ?? (document as? [String: [Any]])?.values.reduce(0) { $0 + $1.count } ?? -1
  }

  private func expect(
    _ text: String,
    _ form: Form,
    _ entries: Int,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    #expect(try Regex(form.pattern + "\n").wholeMatch(in: text) != nil, "\(text)", sourceLocation: location)
    #expect(try count(text) == entries, "\(text)", sourceLocation: location)
  }

  /// Runs a command line with `--json` and expects a document with so many entries.
  private func expect(
    _ portmap: Portmap,
    _ line: String,
    _ form: Form,
    _ entries: Int,
    status: Int32 = 0,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    let words = line.split(separator: " ").map(String.init)
    let outcome = try portmap.run(words + ["--json"], status: status, at: location)
    try expect(outcome.stdout, form, entries, at: location)
  }

  @Test func whereThereIsNothing() throws {
    try withHost { portmap, _ in
      try expect(portmap, "list", Self.list, 0)
      try expect(portmap, "list 8080", Self.list, 0, status: 5)
      try expect(portmap, "unmap 8080", Self.list, 0, status: 5)
      try expect(portmap, "unmap 8080 --if-exists", Self.list, 0)
      try expect(portmap, "unmap --all", Self.list, 0)
      try expect(portmap, "unmap -n --all", Self.list, 0)
      try expect(portmap, "check", Self.problems, 0)
      try expect(portmap, "repair", Self.repairs, 0)
      try expect(portmap, "repair -n", Self.problems, 0)
    }
  }

  @Test func whatIsMadeShownAndReleased() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      let guest = try Namespace("j", topology.cleanup)
      let specs = "8080:80/tcp+udp 8000-8010:80-90 127.0.0.1::80 [::1]:8081:80"
      for dry in ["-n ", ""] {
        try expect(portmap, "alloc \(dry)-c 2 0/tcp+udp", .array(Self.reservation), 4)
        try expect(portmap, "alloc \(dry)9000 192.0.2.1:9001/udp --quiet", .array(Self.reservation), 2)
        try expect(portmap, "alloc \(dry)9002 --lend", .array(Self.reservation), 1)
        try expect(portmap, "alloc \(dry)--ip", .array(Self.address), 1)
        try expect(portmap, "alloc \(dry)--netns \(guest.name)", .array(Self.address), 1)
        try expect(portmap, "map \(dry)--to \(Address.web) \(specs)", .array(Self.mapping), 5)
        try expect(portmap, "map \(dry)--to \(Address.web6) --proxy-only -v 82:80", .array(Self.mapping), 1)
        try expect(portmap, "map \(dry)83", .array(Self.mapping), 1)
      }
      try portmap("map", "84:80", "85:80/udp", "--to", guest.name)
      try expect(portmap, "list", Self.list, 9 + 7 + 3)
      try expect(portmap, "list 8080 9000 \(guest.name)", Self.list, 5)
      try expect(portmap, "unmap -n 8080 8080/udp 9000", Self.list, 3)
      try expect(portmap, "unmap 8080 8080/udp 9000 1", Self.list, 3, status: 5)
      try expect(portmap, "unmap --all", Self.list, 9 + 7 + 3 - 3)
    }
  }

  /// A document is a result: where there is none there is no document.
  @Test func failures() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("alloc", "8080")
      for (line, status) in [
        ("map", 2), ("map 80/TCP --to 10.99.0.2", 2), ("alloc 80/TCP", 2), ("unmap", 2), ("list 80/TCP", 2),
        ("proxy 80", 2), ("check 80/TCP", 2), ("repair 80", 2), ("map 192.0.2.1:8080:80 --to 10.99.0.2", 3),
        ("alloc 8080", 3), ("alloc -n 8080", 3), ("proxy 8080 10.99.0.2:80", 3), ("map 80 --to nobody", 1),
        ("alloc --netns nobody", 1), ("alloc 8081 -- false", 1),
      ] {
        let words = line.split(separator: " ").map(String.init)
        let outcome = try portmap.run([words[0], "--json"] + words.dropFirst(), status: Int32(status))
        #expect(outcome.stdout.isEmpty, "\(outcome)")
      }
    }
  }

  @Test func differences() throws {
    try withTopology { topology in
      let portmap = topology.portmap
      try portmap("map", "8080:80", "--to", Address.web)
      try topology.host.exec("iptables", "-t", "nat", "-F", "OUTPUT")
      try expect(portmap, "check", Self.problems, 1, status: 1)
      try expect(portmap, "repair -n", Self.problems, 1)
      try expect(portmap, "repair", Self.repairs, 1)
      try expect(portmap, "repair", Self.repairs, 0)
    }
  }

  @Test func proxy() throws {
    try withHost { portmap, _ in
      let child = try portmap.start(
        "proxy --json 8080 10.99.0.2:80 0/tcp+udp 10.99.0.2:53 [::1]:8000-8002 [fd00:99::2]:80-82"
          .split(separator: " ").map(String.init)
      )
      let line = try #require(child.line())
      child.signal(SIGTERM)
      let outcome = try child.wait().expecting(0)
      #expect(outcome.stdout == line + "\n")
      try expect(outcome.stdout, .array(.object(Self.pair)), 4)
    }
  }
}
