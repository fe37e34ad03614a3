import CLinux
import Glibc

/// The places in the kernel at which a program sees a connection before it is made.
enum ConnectHook: UInt32, CaseIterable, Sendable {
  /// connect(2) of IPv4 sockets.
  case v4
  /// connect(2) of IPv6 sockets, those that connect to IPv4 addresses in IPv6 form too.
  case v6

  fileprivate var type: UInt32 {
    self == .v4 ? BPF_CGROUP_INET4_CONNECT.rawValue : BPF_CGROUP_INET6_CONNECT.rawValue
  }
}

/// A program of the kernel's virtual machine that is refused by its verifier.
struct RefusedProgram: Error {
  let error: SystemError
  /// The last of what the verifier has to say: why.
  let words: String
}

/// A program that the kernel runs at a hook (bpf(2)).
struct BPFProgram {
  let descriptor: Descriptor
  let name: String
  /// The identifiers of its first two maps.
  let maps: [UInt32]

  /// Loads a program; it lives for as long as anything refers to it.
  ///
  /// - Parameter instructions: The instructions in the kernel's coding, 8 bytes each.
  static func load(_ name: String, for hook: ConnectHook, _ instructions: [UInt64]) throws -> Descriptor {
    let count = UInt32(instructions.count)
    let raw = clinux_bpf_load(name, hook.type, instructions, count, nil, 0)
    if raw >= 0 { return Descriptor(owning: raw) }
    let error = SystemError(call: "bpf", errno: errno)
    guard error.errno == EACCES || error.errno == EINVAL else { throw error }
    // Once more, for the verifier's words.
    var log = [CChar](repeating: 0, count: 1 << 16)
    let second = clinux_bpf_load(name, hook.type, instructions, count, &log, UInt32(log.count))
    if second >= 0 { return Descriptor(owning: second) }
    let lines = String(zeroTerminated: log).split(separator: "\n").filter { !$0.hasPrefix("processed ") }
    throw RefusedProgram(error: error, words: lines.last.map(String.init) ?? "")
  }

  /// The programs that are attached to a cgroup itself; those that are gone meanwhile are left out.
  static func attached(to cgroup: Descriptor, _ hook: ConnectHook) throws(SystemError) -> Attached {
    // The kernel takes no more for a cgroup (BPF_CGROUP_MAX_PROGS).
    var identifiers = [UInt32](repeating: 0, count: 64)
    var count = UInt32(identifiers.count)
    var flags: UInt32 = 0
    try syscall("bpf") { clinux_bpf_query(cgroup.raw, hook.type, &flags, &identifiers, &count) }
    var attached = Attached(isOpen: count == 0 || flags & UInt32(BPF_F_ALLOW_MULTI) != 0)
    for identifier in identifiers.prefix(Int(count)) {
      do {
        attached.programs.append(try BPFProgram(identifier))
      } catch  where error.errno == ENOENT {
        continue
      }
    }
    return attached
  }

  /// What is attached to a cgroup at one hook.
  struct Attached {
    /// Whether others may be attached beside them.
    let isOpen: Bool
    fileprivate(set) var programs: [BPFProgram] = []
  }

  private init(_ identifier: UInt32) throws(SystemError) {
    descriptor = try Descriptor("bpf") { clinux_bpf_open_program(identifier) }
    var text = [CChar](repeating: 0, count: Int(clinux_bpf_name_length))
    var maps: [UInt32] = [0, 0]
    let raw = descriptor.raw
    try syscall("bpf") { clinux_bpf_describe_program(raw, &text, &maps) }
    name = String(zeroTerminated: text)
    self.maps = maps.filter { $0 != 0 }
  }

  /// Attaches a program to a cgroup, beside others or in the place of one of them.
  static func attach(
    _ program: Descriptor,
    to cgroup: Descriptor,
    _ hook: ConnectHook,
    replacing other: Descriptor? = nil
  ) throws(SystemError) {
    try syscall("bpf") { clinux_bpf_attach(cgroup.raw, hook.type, program.raw, other?.raw ?? -1) }
  }

  /// Detaches a program from a cgroup; one that is not attached stays so.
  func detach(from cgroup: Descriptor, _ hook: ConnectHook) throws(SystemError) {
    do {
      try syscall("bpf") { clinux_bpf_detach(cgroup.raw, hook.type, descriptor.raw) }
    } catch  where error.errno == ENOENT {
      return
    }
  }
}

/// A map of what a program has to say of sockets, each for as long as it is there (bpf(2)).
struct BPFSocketMap {
  let descriptor: Descriptor

  init(_ name: String) throws(SystemError) {
    descriptor = try Descriptor("bpf") { clinux_bpf_make_socket_map(name) }
  }

  /// Opens a map that is there; nil where it has another name.
  init?(_ identifier: UInt32, named name: String) throws(SystemError) {
    descriptor = try Descriptor("bpf") { clinux_bpf_open_map(identifier) }
    var text = [CChar](repeating: 0, count: Int(clinux_bpf_name_length))
    var (keySize, valueSize): (UInt32, UInt32) = (0, 0)
    let raw = descriptor.raw
    try syscall("bpf") { clinux_bpf_describe_map(raw, &text, &keySize, &valueSize) }
    guard String(zeroTerminated: text) == name else { return nil }
  }

  /// Ends the connections of this network namespace of which the map says that they were led so.
  func end(_ led: [clinux_led]) throws(SystemError) {
    try syscall("sock_diag") { clinux_end_connections(descriptor.raw, led, led.count) }
  }
}

/// A hash map that programs of the kernel and this one share (bpf(2)).
struct BPFMap<Key: BitwiseCopyable, Value: BitwiseCopyable> {
  let descriptor: Descriptor

  /// Makes a map; it lives for as long as anything refers to it.
  init(_ name: String, room: Int) throws(SystemError) {
    descriptor = try Descriptor("bpf") {
      clinux_bpf_make_map(
        name,
        UInt32(MemoryLayout<Key>.stride),
        UInt32(MemoryLayout<Value>.stride),
        UInt32(room)
      )
    }
  }

  /// Opens a map that is there; nil where it has another name, or other sizes.
  init?(_ identifier: UInt32, named name: String) throws(SystemError) {
    descriptor = try Descriptor("bpf") { clinux_bpf_open_map(identifier) }
    var text = [CChar](repeating: 0, count: Int(clinux_bpf_name_length))
    var (keySize, valueSize): (UInt32, UInt32) = (0, 0)
    let raw = descriptor.raw
    try syscall("bpf") { clinux_bpf_describe_map(raw, &text, &keySize, &valueSize) }
    guard String(zeroTerminated: text) == name, Int(keySize) == MemoryLayout<Key>.stride,
      Int(valueSize) == MemoryLayout<Value>.stride
    else { return nil }
  }

  /// Sets entries, all in one call.
  func set(_ entries: [(key: Key, value: Value)]) throws(SystemError) {
    guard !entries.isEmpty else { return }
    let (keys, values) = (entries.map(\.key), entries.map(\.value))
    var count = UInt32(entries.count)
    try syscall("bpf") { clinux_bpf_update(descriptor.raw, keys, values, &count) }
  }

  /// Deletes entries; those that are not there are no mistake.
  func delete(_ keys: [Key]) throws(SystemError) {
    var rest = keys[...]
    while !rest.isEmpty {
      var count = UInt32(rest.count)
      let result = rest.withUnsafeBufferPointer { clinux_bpf_delete(descriptor.raw, $0.baseAddress, &count) }
      guard result != 0 else { return }
      guard errno == ENOENT else { throw SystemError(call: "bpf", errno: errno) }
      rest = rest.dropFirst(Int(count) + 1)
    }
  }

  /// How many entries are read by one call: more than can be in one bucket of the kernel's.
  private static var most: Int { 16384 }

  /// Reads all entries.
  func entries() throws(SystemError) -> [(key: Key, value: Value)] {
    let keys = UnsafeMutableBufferPointer<Key>.allocate(capacity: Self.most)
    let values = UnsafeMutableBufferPointer<Value>.allocate(capacity: Self.most)
    defer {
      keys.deallocate()
      values.deallocate()
    }
    var all: [(key: Key, value: Value)] = []
    var (place, next): (UInt32, UInt32) = (0, 0)
    for call in 0... {
      var count = UInt32(Self.most)
      let result = withUnsafePointer(to: &place) {
        clinux_bpf_read(
          descriptor.raw,
          call == 0 ? nil : $0,
          &next,
          keys.baseAddress,
          values.baseAddress,
          &count
        )
      }
      let code = result == 0 ? 0 : errno
      guard code == 0 || code == ENOENT else { throw SystemError(call: "bpf", errno: code) }
      for index in 0..<Int(count) { all.append((keys[index], values[index])) }
      if code == ENOENT { break }
      place = next
    }
    return all
  }
}

extension String {
  fileprivate init(zeroTerminated bytes: [CChar]) {
    self.init(decoding: bytes.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
