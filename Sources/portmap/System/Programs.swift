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
