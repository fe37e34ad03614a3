import Foundation
import Testing

extension Topology {
  /// The program under test with shell scripts before the real programs on its PATH.
  ///
  /// In a script, `"$real"` is the program that it stands for.
  func portmap(with shims: [String: String]) throws -> Portmap {
    let folder = self.folder + "/shims-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    var files: [String] = []
    for (name, script) in shims {
      files += [folder + "/" + name, "#!/bin/sh\nreal=\(try Tools.path(name))\n\(script)\n"]
    }
    // By another process: what this one had open for writing, a child of another test could still have open, and
    // nobody can run such a file.
    let write = "while [ $# != 0 ]; do printf %s \"$2\" > \"$1\"; chmod 755 \"$1\"; shift 2; done"
    try run(["sh", "-c", write, "sh"] + files)
    return portmap(path: "\(folder):\(Tools.searchPath)")
  }

  /// The program under test where `iptables` is iptables-legacy.
  func legacyPortmap() throws -> Portmap {
    var shims: [String: String] = [:]
    for family in ["iptables", "ip6tables"] {
      for suffix in ["", "-save", "-restore"] {
        shims[family + suffix] = "exec \(family)-legacy\(suffix) \"$@\""
      }
    }
    return try portmap(with: shims)
  }

  /// The program under test where only these programs can be found.
  func portmap(withOnly tools: [String]) throws -> Portmap {
    let folder = self.folder + "/tools-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    for tool in tools {
      try FileManager.default.createSymbolicLink(
        atPath: folder + "/" + tool,
        withDestinationPath: try Tools.path(tool)
      )
    }
    return portmap(path: folder)
  }

  private func portmap(path: String) -> Portmap {
    var result = portmap
    result.prefix = ["/usr/bin/env", "PATH=" + path]
    return result
  }
}
