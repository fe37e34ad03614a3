import CLinux
import Glibc

/// Whole small files, through the system calls alone: those of /proc and /sys have no size to ask for.
enum Files {
  /// What is in a file; nil where it is missing or cannot be read.
  static func contents(of path: String) -> [UInt8]? {
    guard let file = try? Descriptor("open", { open(path, O_RDONLY | O_CLOEXEC) }) else { return nil }
    return try? contents(of: file)
  }

  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// The first word of a file such as those of /proc/sys.
  static func word(of path: String) -> String? {
    guard let bytes = contents(of: path) else { return nil }
    return String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).first.map(String.init)
  }

  /// What is left to read behind a descriptor's offset.
  static func contents(of file: Descriptor) throws(SystemError) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = try syscall("read") { read(file.raw, &buffer, buffer.count) }
      if count == 0 { return bytes }
      bytes += buffer[..<count]
    }
  }

  static func write(_ text: String, to file: Descriptor, about subject: String? = nil) throws(SystemError) {
    try Array(text.utf8).withUnsafeBufferPointer { bytes throws(SystemError) in
      try write(UnsafeRawBufferPointer(bytes), to: file, about: subject)
    }
  }

  static func write(_ bytes: UnsafeRawBufferPointer, to file: Descriptor, about subject: String? = nil)
    throws(SystemError)
  {
    var rest = bytes
    while !rest.isEmpty {
      let count = try syscall("write", about: subject) { Glibc.write(file.raw, rest.baseAddress, rest.count) }
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }
  }

  /// The names in a folder but `.` and `..`, in no order; nil where it cannot be read.
  static func names(in folder: String) -> [String]? {
    guard let stream = opendir(folder) else { return nil }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}
