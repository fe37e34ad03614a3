import Foundation
import Testing

extension Topology {
  /// The program under test with shell scripts before the real programs on its PATH.
  ///
  /// In a script, `"$real"` is the program that it stands for.
  func portmap(with shims: [String: String]) throws -> Portmap {
    let folder = self.folder + "/shims-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    for (name, script) in shims {
      let text = "#!/bin/sh\nreal=\(try Tools.path(name))\n\(script)\n"
      let path = folder + "/" + name
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
    }
    return portmap(path: "\(folder):\(Tools.searchPath)")
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
