import Foundation
import Testing

@testable import portmap

/// JSON that is read where it stands, beside Foundation's reader.
@Suite struct JSONTextTests {
  private func text(_ document: String) throws -> JSONText { try JSONText(Array(document.utf8)) }

  @Test(arguments: [
    "{}", "[]", " [ ] ", "{\"a\":1}", "[1,2,[3,{\"b\":[]}]]", "\"x\"", "-0.5e+10", "true", "null",
    "{\"a\":{\"b\":{\"c\":null}},\"d\":[]}", "\t\r\n1 ", "[\"\\u00e4\\\\\\\"\\/\\b\\f\\n\\r\\t\"]", "1e9",
    "0",
    "[-1,0.25,2E-3]", "\"\\ud83d\\ude00\"",
  ])
  func whatIsValid(_ document: String) throws {
    _ = try JSONSerialization.jsonObject(with: Data(document.utf8), options: .fragmentsAllowed)
    let text = try text(document)
    #expect(
      String(decoding: text.bytes, as: UTF8.self) == document.trimmingCharacters(in: .whitespacesAndNewlines)
    )
  }

  @Test(arguments: [
    "", " ", "{", "}", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "[1 2]", "\"", "\"\\x\"",
    "\"\\u12g4\"",
    "01", "-", "1.", ".5", "1e", "+1", "tru", "nulll", "[1]]", "{}{}", "\"\n\"", "[\u{b}]", "NaN", "'a'",
    "{\"a\":1]",
    "[1}", "\u{feff}{}",
  ])
  func whatIsNot(_ document: String) { #expect(throws: JSONMistake.self) { try text(document) } }

  @Test func bytesThatAreNoText() {
    #expect(throws: JSONMistake.self) { try JSONText([0x22, 0xFF, 0x22]) }
    #expect(throws: JSONMistake.self) { try JSONText([0x22, 0xED, 0xA0, 0x80, 0x22]) }
  }

  @Test func depthIsNoMatter() throws {
    let depth = 200_000
    let deep = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    #expect(try text(deep).elements.reduce(0) { count, _ in count + 1 } == 1)
    #expect(throws: JSONMistake.self) { try text(String(deep.dropLast())) }
  }

  @Test func values() throws {
    let object = try text(#"{"a" : "x" , "b":[1,"two",null,{"c":true}],"a":"y","n":null,"é":-7,"big":1e3}"#)
    #expect(object["a"]?.string == "y", "the last counts")
    #expect(object["n"] == nil && object["missing"] == nil)
    #expect(object["é"]?.integer == -7 && object["big"]?.integer == nil)
    let list = try #require(object["b"]).elements.map { $0 }
    #expect(list.map(\.kind) == [.number, .string, .null, .object])
    #expect(list[3]["c"]?.boolean == true)
    #expect(object.members.map(\.key) == ["a", "b", "a", "n", "é", "big"])
    #expect(list[0]["c"] == nil && list[0].elements.map { $0.kind }.isEmpty)
  }

  @Test func characters() throws {
    #expect(try text(#""a\u0041\n\ud83d\ude00\\\/é""#).string == "aA\n😀\\/é")
    #expect(try text(#""\ud83d!""#).string == "\u{fffd}!")
    for word in ["", "a\"b\\c", "\u{1}\n\u{1f}", "é😀"] {
      #expect(try text(JSONText.quoted(word)).string == word)
    }
  }
}
