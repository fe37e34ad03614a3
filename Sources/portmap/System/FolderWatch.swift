import CLinux
import Glibc

/// An eye on folders: what is made, renamed and deleted in them (inotify(7)).
final class FolderWatch {
  struct Event {
    /// Which of the watched folders it is; nil where so much has happened that some of it is lost.
    let watch: Int32?
    /// The name of the file in there; empty where it is about the folder itself.
    let name: String
    /// Whether the folder is not watched any more: it is gone.
    let isLast: Bool
  }

  let descriptor: Descriptor
  private var buffer = [UInt8](repeating: 0, count: 8192)

  init() throws(SystemError) {
    descriptor = try Descriptor("inotify_init1") {
      inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
    }
  }

  /// Watches a folder, or goes on watching it; nil where there is none.
  func add(_ path: String) -> Int32? {
    let events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF
    let watch = inotify_add_watch(descriptor.raw, path, UInt32(events) | UInt32(IN_ONLYDIR))
    return watch >= 0 ? watch : nil
  }

  /// Takes in everything that has happened.
  func events() -> [Event] {
    var events: [Event] = []
    while let count = try? nonblocking("read", { read(descriptor.raw, &buffer, buffer.count) }), count > 0 {
      var rest = buffer[..<count]
      while let event = Self.next(&rest) { events.append(event) }
    }
    return events
  }

  private static func next(_ bytes: inout ArraySlice<UInt8>) -> Event? {
    let header = MemoryLayout<inotify_event>.size
    guard bytes.count >= header else { return nil }
    let event = bytes.withUnsafeBytes { $0.loadUnaligned(as: inotify_event.self) }
    let name = bytes.dropFirst(header).prefix(Int(event.len)).prefix { $0 != 0 }
    bytes = bytes.dropFirst(header + Int(event.len))
    return Event(
      watch: event.wd >= 0 ? event.wd : nil,
      name: String(decoding: name, as: UTF8.self),
      isLast: event.mask & UInt32(IN_IGNORED) != 0
    )
  }
}
