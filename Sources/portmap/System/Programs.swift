import Glibc

/// Finding programs by their names.
enum Programs {
  /// The folders of `$PATH`; those that Debian gives root where it is unset or empty.
  static func searchPath(_ environment: [String: String]) -> [String] {
    let path = environment["PATH"].flatMap { $0.isEmpty ? nil : $0 }
    let folders = path ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return folders.split(separator: ":", omittingEmptySubsequences: false).map {
      $0.isEmpty ? "." : String($0)
    }
  }

  /// The first executable file of that name; nil where there is none.
  static func find(_ name: String, _ environment: [String: String]) -> String? {
    searchPath(environment).lazy.map { "\($0)/\(name)" }.first { path in
      var status = stat()
      return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }
  }
}

extension Programs {
  /// The folders of a program's file and of the links that lead to it: changes there can make it another one.
  static func foldersOnTheWay(to name: String, _ environment: [String: String]) -> [String] {
    guard var path = find(name, environment) else { return [] }
    var folders: [String] = []
    // No more links than the kernel follows.
    for _ in 0..<40 {
      let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
      folders.append(folder.isEmpty ? "/" : folder)
      var target = [CChar](repeating: 0, count: Int(PATH_MAX))
      let length = readlink(path, &target, target.count - 1)
      guard length > 0 else { break }
      let link = String(decoding: target[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
      path = link.hasPrefix("/") ? link : "\(folder)/\(link)"
    }
    return folders
  }
}
