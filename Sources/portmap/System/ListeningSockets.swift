import Glibc

/// A socket that waits for connections or datagrams, as /proc/net shows it.
struct ListeningSocket: Equatable {
  let transport: Transport
  let ip: IPAddress
  let port: UInt16

  /// Whether it gets what is sent to an address: it is bound to that, to every address of its family, or to every
  /// address of both, as far as that can be seen.
  func serves(_ address: IPAddress) -> Bool {
    ip == address || ip.isUnspecified && (ip.family == address.family || ip.family == .v6)
  }
}

enum ListeningSockets {
  /// The sockets of the network namespace that a process is in; none where it is gone.
  static func all(ofProcess pid: Int32, _ transport: Transport) -> [ListeningSocket] {
    ["", "6"].flatMap { family in
      parse(Files.contents(of: "/proc/\(pid)/net/\(transport.rawValue)\(family)") ?? [], transport)
    }
  }

  /// Reads a table in the form of proc_pid_net(5): addresses are the kernel's own numbers, four bytes each.
  static func parse(_ table: [UInt8], _ transport: Transport) -> [ListeningSocket] {
    String(decoding: table, as: UTF8.self).split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(separator: " ", maxSplits: 4)
      guard fields.count > 3, fields[3] == (transport == .udp ? closed : listening) else { return nil }
      let local = fields[1].split(separator: ":")
      guard local.count == 2, let ip = address(local[0]), let port = UInt16(local[1], radix: 16) else {
        return nil
      }
      return ListeningSocket(transport: transport, ip: ip, port: port)
    }
  }

  /// States of sockets: TCP_LISTEN, and TCP_CLOSE, which udp sockets are in that are not connected.
  private static let listening = "0A"
  private static let closed = "07"

  private static func address(_ text: Substring) -> IPAddress? {
    var words: [UInt32] = []
    var rest = text
    while rest.utf8.count >= 8 {
      guard let word = UInt32(rest.prefix(8), radix: 16) else { return nil }
      words.append(UInt32(bigEndian: word))
      rest = rest.dropFirst(8)
    }
    switch (words.count, rest.isEmpty) {
    case (1, true): return IPAddress(v4: words[0])
    case (4, true): return IPAddress(v6: words.reduce(0) { $0 << 32 | UInt128($1) })
    default: return nil
    }
  }
}
