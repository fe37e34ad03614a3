import CLinux
import Glibc

/// Where a state folder is, and which folders on the way there are portmap's own.
struct StatePath: Equatable {
  /// The path without slashes at its end.
  let path: String
  /// How many of the last names in the path are of portmap's own choice: the folders of these names must all belong to
  /// the user and be closed to others, since nobody else has vouched for them.
  let ownNames: Int
  /// The folder in which the folders of network namespaces lie side by side; nil where a user has named one folder.
  let shelf: String?

  /// The folder asked for, or the one of this namespace and user.
  init(option: String?, _ environment: [String: String]) {
    func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    if let given = option ?? variable("PORTMAP_STATE_DIR") {
      self.init(given, ownNames: 1, shelf: geteuid() == 0 ? Self.rootShelf : nil)
    } else if geteuid() == 0 {
      self = Self.root
    } else {
      let shelf = variable("XDG_RUNTIME_DIR").map { "\($0)/portmap" } ?? "/tmp/portmap-\(geteuid())"
      self.init("\(shelf)/\(Self.namespaceName)", ownNames: 2, shelf: shelf)
    }
  }

  init(_ path: String, ownNames: Int = 1, shelf: String? = nil) {
    let bare = path.prefix(upTo: path.lastIndex { $0 != "/" }.map(path.index(after:)) ?? path.startIndex)
    self.path = bare.isEmpty ? "/" : String(bare)
    self.ownNames = ownNames
    self.shelf = shelf
  }

  /// Root's folder of the namespace that this process is in, whose lock covers the namespace's rules and links.
  static var root: StatePath {
    isHostNamespace
      ? StatePath(rootShelf, shelf: rootShelf)
      : StatePath("\(rootShelf)/\(namespaceName)", ownNames: 2, shelf: rootShelf)
  }

  private static let rootShelf = "/run/portmap"

  /// What the folders of namespaces are called: this and the namespace's cookie.
  static let namespacePrefix = "netns-"

  /// The name of this namespace's folder on a shelf.
  static var namespaceName: String { "\(namespacePrefix)\(clinux_netns_cookie())" }

  /// NET_NS_INIT_INO.
  private static let firstNamespace: ino_t = 0xEFFF_FFF9

  private static var isHostNamespace: Bool {
    var mine = stat()
    var host = stat()
    guard stat("/proc/self/ns/net", &mine) == 0 else { return false }
    // Where even root may not look at process 1, the number of the kernel's first namespace tells (nsfs.h).
    guard stat("/proc/1/ns/net", &host) == 0 else { return mine.st_ino == firstNamespace }
    return mine.st_ino == host.st_ino && mine.st_dev == host.st_dev
  }
}
