import Testing

@testable import portmap

@Suite struct IdentifierTests {
  @Test(arguments: ["a0000000", "f1234567", "deadbeef", "abcdefab"])
  func ids(_ text: String) {
    #expect(Identifier.isID(text))
    #expect(!Identifier.isName(text))
  }

  @Test(arguments: [
    "a", "_", "_a", "Z", "web", "web-1", "web.example", "a_b-c.d", "abcdefghijklmno", "a000000", "a00000000",
    "g0000000",
    "A0000000", "a000000g", "a000000A",
  ])
  func names(_ text: String) {
    #expect(Identifier.isName(text))
    #expect(!Identifier.isID(text))
  }

  @Test(arguments: [
    "", "1web", "-web", ".web", "abcdefghijklmnop", "we b", "web\n", "web\0", "wéb", "веб", "web/x", "web:80",
    "00000000",
    "10000000", "@", "`a", "{a", "[a",
  ])
  func neither(_ text: String) {
    #expect(!Identifier.isName(text))
    #expect(!Identifier.isID(text))
  }

  @Test func madeOnesAreIDsAndNew() {
    var known: Set<String> = []
    for _ in 0..<1000 {
      let id = Identifier.make { known.contains($0) }
      #expect(Identifier.isID(id))
      #expect(known.insert(id).inserted)
    }
  }

  @Test func takenOnesAreNotMade() {
    var asked = 0
    let id = Identifier.make { _ in
      asked += 1
      return asked < 5
    }
    #expect(asked == 5)
    #expect(Identifier.isID(id))
  }
}
