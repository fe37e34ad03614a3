import Foundation
import Testing

/// Programs that fail, and a portmap that is killed, at each call in turn: wholly done or wholly undone.
@Suite(.serialized) struct FaultTests {
  typealias Address = Topology.Address

  /// What happens at call number K.
  enum Fault: String, CaseIterable {
    case failing = "echo 'the sky is falling' >&2; exit 3"
    case failingAfterwards = "\"$real\" \"$@\"; echo 'the sky is falling' >&2; exit 3"
    case killing = "\"$real\" \"$@\"; kill -9 $PPID; exit 3"
    /// The program outlives portmap and acts when somebody else may have begun: that is what its pause is for.
    case killingBefore = "kill -9 $PPID; sleep 0.2; exec \"$real\" \"$@\""

    var isDeadly: Bool { self == .killing || self == .killingBefore }
  }

  private static let programs = [
    "ip", "ip6tables-restore", "ip6tables-save", "iptables-restore", "iptables-save",
  ]

  /// Runs a command again and again, with a fault at call 1, 2, … until it no longer gets there; what is left after
  /// `after` has tidied up must be what was there at first.
  private func inject(
    _ fault: Fault,
    into topology: Topology,
    before: () throws -> Void = {},
    _ arguments: [String],
    after: (Outcome) throws -> Void
  ) throws {
    let clean = try topology.host.snapshot()
    let counter = topology.folder + "/calls"
    let number = topology.folder + "/call"
    // Programs may run side by side: making a folder is what only one of them can do.
    let script = """
      calls=1
      while ! mkdir \(counter)/$calls 2>/dev/null; do calls=$((calls + 1)); done
      if [ $calls = $(cat \(number)) ]; then \(fault.rawValue); fi
      exec "$real" "$@"
      """
    let portmap = try topology.portmap(
      with: Dictionary(uniqueKeysWithValues: Self.programs.map { ($0, script) })
    )
    for call in 1...60 {
      try before()
      try run(["sh", "-c", "rm -rf \(counter); mkdir \(counter)"])
      try Data("\(call)".utf8).write(to: URL(fileURLWithPath: number))
      let outcome = try portmap.run(arguments, status: nil)
      if try FileManager.default.contentsOfDirectory(atPath: counter).count < call {
        #expect(outcome.status == 0 && call > 1, "\(outcome)")
        return
      }
      try after(outcome)
      // A program that outlived portmap must have changed nothing after all.
      if fault.isDeadly {
        try eventually("a program does not end") { try topology.host.processes().isEmpty }
      }
      try topology.host.expectUnchanged(clean)
    }
    Issue.record("no end of calls")
  }

  /// The next changing command deals with what one that died has left, or `repair` does.
  private func tidyUp(_ portmap: Portmap, after fault: Fault) throws {
    if fault == .killing { try portmap("unmap", "--if-exists", "1") }
    if fault == .killingBefore { try portmap("repair") }
    let check = try portmap("check", status: nil)
    #expect(check.status == 0, "\(fault): \(check)")
  }

  /// What is declared is there, once, when an apply that failed or was killed is given again.
  @Test(arguments: Fault.allCases)
  func applyIsFinishedByTheNextOne(_ fault: Fault) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let guest = try Namespace("n", topology.cleanup)
      let portmap = topology.portmap
      let old = try topology.declare(
        "map 8080:80 8081:80 --to \(Address.other)\nalloc 9000 9005",
        as: "old.conf"
      )
      let text = """
        alloc --netns \(guest.name)
        map 8080:80/tcp+udp --to \(Address.web)
        map 8082:80 --to \(guest.name)
        map 127.0.0.1:8083:80 --to \(Address.web)
        map 8000-8010:80-90 --to \(Address.web) --masquerade
        alloc 9000
        alloc 9001/udp
        map 9005:80 --to \(Address.other) --no-proxy
        map 0:80 --to \(Address.other)
        map [::]:8443:443 --to \(Address.web6)
        """
      let before = try String(contentsOfFile: old, encoding: .utf8)
      let declared = [
        "127.0.0.1:8083 tcp", "8000 tcp", "8080 tcp", "8080 udp", "8082 tcp", "8443 tcp", "9000 tcp",
        "9001 udp",
        "9005 tcp",
      ]
      func prepare() throws {
        try topology.declare(before, as: "old.conf")
        try portmap("apply", old)
        try topology.declare(text, as: "old.conf")
      }
      try inject(fault, into: topology, before: prepare, ["apply", old]) { _ in
        let again = try portmap("apply", old, status: nil)
        #expect(again.status == 0, "\(again)")
        let list = try portmap.list()
        let ports =
          list.mappings.filter { $0.backendPort != 80 || $0.hostPort < 49153 }
          .map { "\($0.hostIP == "127.0.0.1" ? "127.0.0.1:" : "")\($0.hostPort) \($0.protocol)" }
          + list.reservations.map { "\($0.port) \($0.protocol)" }
        #expect(ports.sorted() == declared.sorted(), "\(fault)")
        #expect(list.mappings.count == 8 && list.addresses.map(\.name) == [guest.name])
        let check = try portmap("check", status: nil)
        #expect(check.status == 0, "\(fault): \(check)")
        try portmap("unmap", "--all")
      }
    }
  }

  @Test(arguments: Fault.allCases)
  func mapIsDoneOrUndone(_ fault: Fault) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      let arguments = ["map", "8080:80/tcp+udp", "8081:80", "--to", Address.web]
      try inject(fault, into: topology, arguments) { outcome in
        try tidyUp(portmap, after: fault)
        let count = try portmap.list().mappings.count
        #expect(count == (outcome.status == 0 ? 3 : 0), "\(outcome)")
        if outcome.status == 0 { try portmap("unmap", "--all") }
      }
    }
  }

  @Test(arguments: Fault.allCases)
  func netnsIsDoneOrUndone(_ fault: Fault) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      let guest = try Namespace("p", topology.cleanup)
      try inject(fault, into: topology, ["alloc", "--netns", guest.name]) { outcome in
        try tidyUp(portmap, after: fault)
        let count = try portmap.list().addresses.count
        #expect(count == (outcome.status == 0 ? 1 : 0), "\(outcome)")
        if count == 0 { #expect(try guest.links() == ["lo"], "\(outcome)") }
        try portmap("unmap", "--all")
        #expect(try guest.links() == ["lo"], "\(outcome)")
      }
    }
  }

  @Test(arguments: Fault.allCases)
  func unmapGoesOn(_ fault: Fault) throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      try inject(
        fault,
        into: topology,
        before: { try portmap("map", "8080:80/tcp+udp", "8081:80", "--to", Address.web) },
        ["unmap", "8080", "8080/udp", "8081"]
      ) { outcome in
        if fault == .failing, outcome.status != 0 {
          #expect(outcome.stderr.contains("the sky is falling"), "\(outcome)")
        }
        try portmap("unmap", "--all")
        #expect(try portmap.list().isEmpty)
      }
    }
  }

  @Test func aDeadProcessIsNoObstacle() throws {
    try withTopology { topology in
      try topology.setBridgeNetfilter(false)
      let portmap = topology.portmap
      let before = try topology.host.snapshot()
      try portmap("map", "8080:80/tcp+udp", "--to", Address.web)
      try portmap("alloc", "9000")
      try topology.host.killProcesses()
      _ = try portmap.list()
      try portmap("unmap", "8080", "8080/udp", "9000")
      #expect(try portmap.list().isEmpty)
      try topology.host.expectUnchanged(before)
    }
  }
}
