import Foundation
import Testing

@testable import portmap

@Suite struct StateFolderValueTests {
  @Test(arguments: [
    ("/run/portmap", "/run/portmap"), ("/run/portmap/", "/run/portmap"), ("/run/portmap///", "/run/portmap"),
    ("state/", "state"), ("/", "/"), ("//", "/"),
  ])
  func slashesAtTheEndMeanNothing(_ text: String, _ path: String) {
    #expect(StatePath(option: text, [:]).path == path)
    #expect(StatePath(option: nil, ["PORTMAP_STATE_DIR": text]).path == path)
  }

  /// Of a given folder only the folder itself is portmap's, whatever it is called.
  @Test func whatIsPortmapsOwn() {
    #expect(StatePath(option: "/srv/netns-1", [:]).ownNames == 1)
    let user = StatePath(option: nil, ["XDG_RUNTIME_DIR": "/run/user/1000"])
    #expect(geteuid() == 0 || user.ownNames == 2)
  }

  @Test func tagsAreSixDigits() {
    for text in ["", "a", "/run/portmap", "64:2/portmap", "64:3/portmap"] {
      #expect(StateFolder.tag(from: text).wholeMatch(of: /[0-9a-f]{6}/) != nil)
      #expect(StateFolder.isTag(StateFolder.tag(from: text)))
    }
    #expect(StateFolder.tag(from: "64:2/portmap") != StateFolder.tag(from: "64:3/portmap"))
    #expect(StateFolder.isTag(""))
    for text in ["a", "3fa9c", "3FA9C1", "3fa9c1 ", "-j DROP", "3fa9c1\n"] {
      #expect(!StateFolder.isTag(text))
    }
  }

  /// A folder's tag does not depend on whether it is there already, nor on the way to it.
  @Test func aFolderThatIsYetToBeMade() throws {
    let base = "/tmp/portmap-test-\(UUID().uuidString.prefix(8))"
    defer { try? FileManager.default.removeItem(atPath: base) }
    try FileManager.default.createDirectory(atPath: base, withIntermediateDirectories: false)
    let place = StatePath("\(base)/state")
    let before = try StateFolder.look(at: place).freshTag
    #expect(!FileManager.default.fileExists(atPath: place.path))
    #expect(try StateFolder.make(place).freshTag == before)
    #expect(try StateFolder.look(at: place).freshTag == before)
    #expect(
      try StateFolder.look(at: StatePath("\(base)/./../\(base.dropFirst(5))/state/")).freshTag == before
    )
    #expect(try StateFolder.look(at: StatePath("\(base)/state2")).freshTag != before)
  }
}

@Suite struct UnusedUserTests {
  @Test func aNamespacesMap() {
    let all = UserRanges(namespaceMap: "         0          0 4294967295\n")
    #expect(all.contains(0) && all.contains(4_294_967_294))
    let container = UserRanges(namespaceMap: "         0     100000      65536\n")
    #expect(container.contains(65520) && container.contains(65535) && !container.contains(65536))
    let user = UserRanges(namespaceMap: "         0       1000          1\n")
    #expect(user.contains(0) && !user.contains(1))
    #expect(UserRanges(namespaceMap: "").ranges.isEmpty)
  }

  @Test func accounts() {
    let users = UserRanges(
      accounts: "root:x:0:0:root:/root:/bin/bash\nodd\nbig:x:2130706432:1::/:/bin/false\n"
    )
    #expect(users.contains(0) && users.contains(2_130_706_432) && !users.contains(2_130_706_433))
    let groups = UserRanges(accounts: "adm:x:4:a,b\nempty:x:5:\n")
    #expect(groups.contains(4) && groups.contains(5) && groups.ranges.count == 2)
    let subordinates = UserRanges(subordinates: "alice:100000:65536\n1000:2130706432:65536\nbroken:1\n")
    #expect(subordinates.contains(100000) && subordinates.contains(165535) && !subordinates.contains(165536))
    #expect(subordinates.contains(2_130_706_432 + 65535))
  }

  /// None of the numbers is one that systemd's services, containers or directories get, nor beyond 2^31.
  @Test func theRanges() {
    let given: [ClosedRange<UInt32>] = [
      0...60577, 61184...65519, 65534...65535, 100_000...600_100_000, 200_000...2_000_200_000,
      524_288...1_879_048_191, 2_147_352_576...UInt32.max,
    ]
    for range in UnusedUser.ranges { #expect(!given.contains { $0.overlaps(range) }) }
    #expect(UnusedUser.choose().map { number in UnusedUser.ranges.contains { $0.contains(number) } } == true)
  }
}
