import Foundation
import Testing

/// Keeps the direction of dependencies: CLI -> Commands -> {State, Allocation, Firewall, Network, Proxy} ->
/// {Model, System} -> CLinux, by reading the sources.
@Suite struct DependencyTests {
  private struct Source: Sendable {
    let folder: String
    let name: String
    /// The code without comments and texts.
    let code: String

    var words: Set<String> { Set(code.split { !$0.isLetter && !$0.isNumber && $0 != "_" }.map(String.init)) }

    /// Names that stand behind a keyword that declares a type, those at the margin or all.
    func types(nested: Bool) -> Set<String> {
      let keywords: Set = ["struct", "class", "enum", "protocol", "actor", "typealias"]
      var names: Set<String> = []
      for line in code.split(separator: "\n") where nested || line.first?.isWhitespace == false {
        let words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }.map(String.init)
        for (keyword, name) in zip(words, words.dropFirst()) where keywords.contains(keyword) {
          if name != "func" && name != "var" { names.insert(name) }
        }
      }
      return names
    }

    var imports: Set<String> {
      Set(code.split(separator: "\n").filter { $0.hasPrefix("import ") }.map { String($0.dropFirst(7)) })
    }
  }

  private static let middle = ["State", "Allocation", "Firewall", "Network", "Proxy"]
  private let sources: [Source]

  init() throws {
    sources = try Self.all.get()
  }

  /// Read once for all tests.
  private static let all = Result {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Sources/portmap").standardizedFileURL
    let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
    return try files.compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" }.map { file in
      Source(
        folder: file.deletingLastPathComponent().lastPathComponent,
        name: file.lastPathComponent,
        code: bare(try String(contentsOf: file, encoding: .utf8))
      )
    }
  }

  private static func bare(_ text: String) -> String {
    text.replacing(/"""(?s:.*?)"""/, with: "").split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.replacing(/"(?:[^"\\]|\\.)*"/, with: "").replacing(/\/\/.*/, with: "") }.joined(
        separator: "\n"
      )
  }

  private func types(of folders: [String]) -> Set<String> {
    Set(sources.filter { folders.contains($0.folder) }.flatMap { $0.types(nested: false) })
  }

  /// Names of types of `others` in files of `folder`, as `File.swift: Name`.
  private func mentions(of others: [String], in folder: String) -> [String] {
    let own = Set(sources.filter { $0.folder == folder }.flatMap { $0.types(nested: true) })
    let foreign = types(of: others).subtracting(own)
    return sources.filter { $0.folder == folder }
      .flatMap { file in file.words.intersection(foreign).map { "\(file.name): \($0)" } }.sorted()
  }

  @Test func thereIsSomethingToRead() {
    #expect(sources.count > 50)
    for folder in Self.middle + ["CLI", "Commands", "Model", "System"] {
      #expect(!types(of: [folder]).isEmpty)
    }
  }

  @Test func modelKnowsNothingElseAndDoesNoIO() {
    #expect(mentions(of: ["System", "Commands", "CLI"] + Self.middle, in: "Model") == [])
    for file in sources where file.folder == "Model" {
      #expect(file.imports.isSubset(of: ["Glibc"]), "\(file.name)")
      #expect(file.imports.isEmpty || file.words.contains("inet_pton"), "\(file.name)")
      #expect(
        file.words.isDisjoint(with: ["open", "read", "write", "print", "Descriptor", "syscall"]),
        "\(file.name)"
      )
    }
  }

  @Test func systemKnowsTheModelAtMost() {
    #expect(mentions(of: ["Commands", "CLI"] + Self.middle, in: "System") == [])
  }

  @Test(arguments: middle)
  func middlePartsDoNotKnowEachOther(_ folder: String) {
    #expect(mentions(of: Self.middle.filter { $0 != folder } + ["Commands", "CLI"], in: folder) == [])
  }

  /// Commands get what was parsed and hand back results and failures; the rest of the command line is not theirs.
  @Test func commandsDoNotKnowWhoRunsThem() {
    let handed = ["ParsedArguments", "Context", "Output", "Failure", "ExitStatus"]
    let found = mentions(of: ["CLI"], in: "Commands").filter { mention in
      !handed.contains { mention.hasSuffix(": \($0)") }
    }
    #expect(found == [])
  }
}
