import CLinux
import Glibc

// What portmap's program on connect(2) has in its map, seen and changed without portmap.

/// The layout of the map `portmap_v1`: a TCP connection that a network namespace's sockets want, and where it goes.
private enum Entry {
  static let keySize = 32
  static let valueSize = 40
  static let room = 65536

  /// The namespace's cookie, an address in IPv6 form, the port, and TCP's number.
  static func key(_ namespace: UInt64, _ address: [UInt8], _ port: UInt16) -> [UInt8] {
    bytes(namespace) + address + bytes(port.bigEndian) + [0, 0] + bytes(UInt32(IPPROTO_TCP))
  }

  private static func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number) { Array($0) }
  }

  static func port(_ key: ArraySlice<UInt8>) -> UInt16 {
    let start = key.startIndex + 24
    return UInt16(key[start]) << 8 | UInt16(key[start + 1])
  }

  static func namespace(_ key: ArraySlice<UInt8>) -> UInt64 {
    key.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// Every IPv4 address, in IPv6 form.
  static let every4 = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF, 0, 0, 0, 0]
}

extension Command {
  /// Prints the ports of a network namespace's entries, this one's unless another cookie is given.
  static func entries(_ options: Options) throws(Ending) {
    let namespace = options["namespace"].flatMap { UInt64($0) } ?? clinux_netns_cookie()
    guard let map = try connectMap() else { return }
    var keys = [UInt8](repeating: 0, count: Entry.room * Entry.keySize)
    var values = [UInt8](repeating: 0, count: Entry.room * Entry.valueSize)
    var count = UInt32(Entry.room)
    var next: UInt32 = 0
    let result = clinux_bpf_read(map, nil, &next, &keys, &values, &count)
    if result != 0, errno != ENOENT { throw Ending(errno: errno, "bpf") }
    let ports = (0..<Int(count)).map { keys[($0 * Entry.keySize)..<(($0 + 1) * Entry.keySize)] }
      .filter { Entry.namespace($0) == namespace }.map(Entry.port)
    for port in ports.sorted() { say("\(port)") }
  }

  /// Deletes the entry of a port and every IPv4 address, or makes one there of a given owner's that leads to port 1.
  static func entry(_ options: Options) throws(Ending) {
    let key = Entry.key(clinux_netns_cookie(), Entry.every4, try options.ports(1).lowerBound)
    guard let map = try connectMap() else { throw Ending(.failed, "no program") }
    var count: UInt32 = 1
    guard let owner = options["owner"].flatMap({ UInt32($0, radix: 16) }) else {
      return try check(clinux_bpf_delete(map, key, &count), "bpf")
    }
    var value = [UInt8](repeating: 0, count: Entry.valueSize)
    value[12] = 127
    value[25] = 1
    withUnsafeBytes(of: owner | 1 << 24) { value.replaceSubrange(28..<32, with: $0) }
    var status = stat()
    try check(stat("/proc/self/ns/net", &status), "stat")
    // Else every portmap of the host would take the namespace for dead.
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: status.st_ino)) {
      value.replaceSubrange(32..<36, with: $0)
    }
    try check(clinux_bpf_update(map, key, value, &count), "bpf")
  }

  /// The map of the program that is attached to the root cgroup; nil where none is.
  private static func connectMap() throws(Ending) -> Int32? {
    let root = clinux_open_cgroups("\0")
    try check(root, "fsopen")
    var identifiers = [UInt32](repeating: 0, count: 64)
    var count = UInt32(identifiers.count)
    var flags: UInt32 = 0
    let hook = BPF_CGROUP_INET4_CONNECT.rawValue
    try check(clinux_bpf_query(root, hook, &flags, &identifiers, &count), "bpf")
    for identifier in identifiers.prefix(Int(count)) {
      var name = [CChar](repeating: 0, count: Int(clinux_bpf_name_length))
      var maps: [UInt32] = [0, 0]
      let program = clinux_bpf_open_program(identifier)
      guard program >= 0, clinux_bpf_describe_program(program, &name, &maps) == 0 else { continue }
      let text = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      guard text.hasPrefix("portmap4_r") else { continue }
      let raw = clinux_bpf_open_map(maps[0])
      return raw >= 0 ? raw : nil
    }
    return nil
  }
}
