/// Declaration files as one block of bytes, in which the watcher hands them to its passes: for each its name, how many
/// bytes it has, and these.
enum DeclarationBundle {
  static func bytes(of files: [DeclarationFile]) -> [UInt8] {
    files.flatMap { Array("\($0.name)\0\($0.bytes.count)\0".utf8) + $0.bytes }
  }

  /// Nil for anything else.
  static func files(in bytes: [UInt8]) -> [DeclarationFile]? {
    var files: [DeclarationFile] = []
    var rest = bytes[...]
    func word() -> String? {
      guard let end = rest.firstIndex(of: 0) else { return nil }
      defer { rest = rest[(end + 1)...] }
      return String(validating: rest[..<end], as: UTF8.self)
    }
    while !rest.isEmpty {
      guard let name = word(), let count = word().flatMap({ Int($0) }), (0...rest.count).contains(count)
      else {
        return nil
      }
      files.append(DeclarationFile(name: name, bytes: Array(rest.prefix(count))))
      rest = rest.dropFirst(count)
    }
    return files
  }
}
