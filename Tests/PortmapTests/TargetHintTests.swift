import Testing

@testable import portmap

/// What somebody may have meant by a target that is nowhere.
@Suite struct TargetHintTests {
  private func state() throws -> State {
    var state = State(netnsCookie: 1, bootID: "boot")
    state.mappings = [
      try Samples.record("a0000001", "8080:80", to: "172.16.42.2"),
      try Samples.record("a0000002", "5300:53/udp", to: "172.16.42.2"),
      try Samples.record("a0000003", "6000-6010:7000-7010", to: "172.16.42.7"),
      try Samples.record("a0000004", "127.0.0.1:9090:90", to: "172.16.42.2"),
    ]
    state.reservations = [
      ReservationRecord(
        reservation: Reservation(id: "b0000001", transport: .udp, hostIP: .every, port: 4000),
        holder: "c0000001"
      )
    ]
    state.addresses = [
      AllocatedAddress(ip: try Samples.address("172.16.42.2"), bridge: "portmap0", name: "web")
    ]
    return state
  }

  @Test(arguments: [
    // Another protocol, a port of a range, the backend's port, a finger beside.
    ("8080/udp", "8080"), ("5300", "5300/udp"), ("4000", "4000/udp"), ("6005", "6000-6010"),
    ("80", "8080"), ("53/udp", "5300/udp"), ("172.16.42.2:80", "8080"), ("8081", "8080"), ("808", "8080"),
    ("192.0.2.9:9090", "127.0.0.1:9090"),
    ("8080:81", "8080"), ("80:8080", "8080"),
    ("8080->172.16.42.3:80", "8080->172.16.42.2:80"),
    ("172.16.42.3", "172.16.42.2"), ("127.0.0.1", "127.0.0.1:9090"),
    ("Web", "web"), ("wev", "web"), ("a0000009", "a0000001"),
  ])
  func near(target: String, expected: String) throws {
    #expect(try state().nearest(to: Target(target)) == expected)
  }

  @Test(arguments: ["1234", "1234/udp", "1:2", "192.0.2.1", "mail", "f1234567", "8080"])
  func far(_ target: String) throws {
    #expect(try state().nearest(to: Target(target)) == nil)
  }

  @Test func inWords() throws {
    let failure = Failure.nowhere([try Target("1234"), try Target("8080/udp")], in: try state())
    #expect(failure.status == .nothingMatched)
    #expect(failure.message == "port tcp/1234 is not mapped; port udp/8080 is not mapped")
    #expect(failure.hint == "did you mean 8080?")
    #expect(Failure.nowhere([try Target("1234")], in: nil).hint == nil)
  }
}
