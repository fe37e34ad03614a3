import Testing

@testable import portmap

/// The names of network namespaces, and how those that were entered are recorded.
@Suite struct GuestNamespaceTests {
  @Test(arguments: [
    "web", "4711", "cni-1b2c3d4e-aaaa-bbbb-cccc-000000000000", "a b|c%d:@", "naïve", "/proc/1/ns/net", "0",
  ])
  func recordsAreReadAsTheyAreWritten(_ text: String) throws {
    let name = try #require(NamespaceName(text))
    for startTime in [nil, 199025] as [UInt64?] {
      let guest = GuestNamespace(name: name, identity: NamespaceIdentity(inode: .max, startTime: startTime))
      #expect(GuestNamespace(text: guest.text) == guest)
      #expect(!guest.text.contains(" ") && !guest.text.contains("|"))
    }
  }

  @Test func names() throws {
    for text in [
      "", ".", "..", "a\0b", String(repeating: "n", count: 256), String(repeating: "/n", count: 2048),
    ] {
      #expect(NamespaceName(text) == nil, "\(text.prefix(10))")
    }
    #expect(NamespaceName("4711")?.pid == 4711)
    #expect(NamespaceName("99999999999")?.pid == .max, "no process has it")
    for text in ["web", "-1", "+1", "٤", "/4711", "4711x"] { #expect(NamespaceName(text)?.pid == nil) }
    #expect(NamespaceName("./web")?.isPath == true && NamespaceName("web")?.isPath == false)
  }

  @Test(arguments: ["", ":", "1", "1:", "x:web", "1@:web", "@1:web", "1@2@3:web", "-1:web", "1:a%2"])
  func textsThatAreNone(_ text: String) {
    #expect(GuestNamespace(text: text) == nil)
  }
}
