import Foundation
import Testing

@testable import portmap

/// Origins as words of records, and records of 0.1.0 without them.
@Suite struct OriginTests {
  @Test(arguments: [
    ("/etc/portmap.conf", "3:/etc/portmap.conf"), ("a b|c%", "3:a%20b%7cc%25"),
    ("/tmp/ü:\n", "3:/tmp/%c3%bc:%0a"),
    ("", "3:"),
  ])
  func anyNameIsOneWord(_ name: String, _ text: String) {
    let origin = Origin(name: name, line: 3)
    #expect(origin.text == text)
    #expect(Origin(text: text) == origin)
  }

  @Test(arguments: ["", "3", ":a", "0:a", "-1:a", "x:a", "3:%", "3:%2", "3:%zz", "3:%ff"])
  func anythingElseIsNone(_ text: String) { #expect(Origin(text: text) == nil) }

  @Test func recordsKeepThem() throws {
    let origin = Origin(name: "/etc/a file|.conf", line: 12)
    var record = try Samples.record("a0000001", "8080:80")
    let text = record.text
    #expect(MappingRecord(text: text) == record, "as 0.1.0 wrote it")
    record.mapping.origin = origin
    record.mapping.tookOver = Origin(name: "one", line: 1)
    record.mapping.scope = ProcessIdentity(pid: 7, startTime: 9)
    #expect(MappingRecord(text: record.text) == record)
    #expect(record.text.contains(" 7@9 from=12:/etc/a%20file%7c.conf over=1:one|"))
    record.mapping.scope = nil
    record.mapping.origin = nil
    #expect(MappingRecord(text: record.text) == record)
    #expect(MappingRecord(text: text.replacing(" proxy|", with: " proxy from=x|")) == nil)

    var reservation = ReservationRecord(
      reservation: Reservation(id: "a0000002", transport: .udp, hostIP: .every, port: 9000),
      holder: "c0000001"
    )
    #expect(ReservationRecord(text: "a0000002 udp * 9000 c0000001") == reservation, "as 0.1.0 wrote it")
    reservation.reservation.origin = origin
    #expect(reservation.text == "a0000002 udp * 9000 c0000001 from=12:/etc/a%20file%7c.conf")
    #expect(ReservationRecord(text: reservation.text) == reservation)
  }

  @Test func statesKeepAddressesAndFailures() throws {
    var state = State(netnsCookie: 1, bootID: "boot")
    var address = AllocatedAddress(ip: try Samples.address("172.16.42.2"), bridge: "portmap0")
    address.origin = Origin(name: "/etc/portmap.conf", line: 2)
    state.addresses = [address]
    state.failures = [
      DeclarationFailure(origin: Origin(name: "one", line: 3), problem: "cannot map 80: taken", status: 3)
    ]
    var coder = StateCoder()
    var other = StateCoder()
    let data = try coder.encode(state)
    #expect(try other.decode(data, path: "") == state)
    let text = String(decoding: data, as: UTF8.self)
    #expect(text.contains(#""failures":[{"origin":"3:one","problem":"cannot map 80: taken","status":3}]"#))
    #expect(text.contains(#""origin":"2:/etc/portmap.conf""#))
  }
}
