/// The control sockets of background processes, as files of the state folder.
enum ControlSocket {
  private static let prefix = "hold-"

  /// The name of the control socket of a background process.
  static func name(_ id: String) -> String { prefix + id }

  /// The id of the process whose control socket has this name; nil for any other file.
  static func id(of name: String) -> String? {
    name.hasPrefix(prefix) ? String(name.dropFirst(prefix.count)) : nil
  }
}
