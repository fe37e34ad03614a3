import Glibc

/// A guest on this host, as /proc shows it: a process in a network namespace that has a backend's address.
///
/// Several namespaces may have the same address, each on a network of its own. The one that is meant has this host's
/// own address in its table of neighbours, with the hardware address that it knows it by; what cannot be told apart so
/// is not looked at. Virtual machines are no processes of this host: nothing is known of them.
struct Guest {
  /// A process in the namespace.
  let pid: Int32

  /// Finds the guest that has an address.
  ///
  /// - Parameters:
  ///   - host: The address that this host talks to it from.
  ///   - hardware: The hardware address of the interface towards it.
  static func find(_ address: IPAddress, host: IPAddress?, hardware: [UInt8]?) -> Guest? {
    let own = NetworkNamespace(of: getpid())
    var seen: Set<NetworkNamespace> = []
    var found: [Guest] = []
    for pid in (Files.names(in: "/proc") ?? []).compactMap({ Int32($0) }).sorted() {
      guard let namespace = NetworkNamespace(of: pid), namespace != own, seen.insert(namespace).inserted
      else {
        continue
      }
      let guest = Guest(pid: pid)
      if guest.has(address) { found.append(guest) }
    }
    if let host, let hardware, host.family == .v4 {
      let neighbours = found.filter { $0.knows(host, hardware) }
      return neighbours.count == 1 ? neighbours[0] : nil
    }
    return found.count == 1 ? found[0] : nil
  }

  /// The sockets that wait in there.
  func listening(_ transport: Transport) -> [ListeningSocket] {
    ListeningSockets.all(ofProcess: pid, transport)
  }

  /// The routers through which it reaches addresses that are not next door, 0.0.0.0 for none in between; nil where that
  /// is not known.
  var gateways: [IPAddress]? {
    Files.contents(of: "/proc/\(pid)/net/route").map { Self.gateways(in: $0) }
  }

  /// Reads those of destination 0 and mask 0 (proc_pid_net(5)).
  static func gateways(in table: [UInt8]) -> [IPAddress] {
    lines(table).compactMap { fields in
      guard fields.count > 7, fields[1] == "00000000", fields[7] == "00000000",
        let gateway = UInt32(fields[2], radix: 16)
      else { return nil }
      return IPAddress(v4: UInt32(bigEndian: gateway))
    }
  }

  private func has(_ address: IPAddress) -> Bool {
    let name = address.family == .v4 ? "fib_trie" : "if_inet6"
    return Self.has(address, in: Files.contents(of: "/proc/\(pid)/net/\(name)") ?? [])
  }

  /// Looks for an address among a namespace's own: in the trie of its routes, where it stands above its kind,
  /// `/32 host LOCAL`, or in the list of IPv6 addresses.
  static func has(_ address: IPAddress, in table: [UInt8]) -> Bool {
    let lines = String(decoding: table, as: UTF8.self).split(separator: "\n")
    if address.family == .v6 {
      let digits = address.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      return lines.contains { $0.hasPrefix(digits) }
    }
    return zip(lines, lines.dropFirst()).contains { line, next in
      line.hasSuffix("|-- \(address)") && next.contains("/32 host LOCAL")
    }
  }

  private func knows(_ host: IPAddress, _ hardware: [UInt8]) -> Bool {
    Self.knows(host, hardware, in: Files.contents(of: "/proc/\(pid)/net/arp") ?? [])
  }

  /// Looks for an address and a hardware address in one line of the table of neighbours.
  static func knows(_ host: IPAddress, _ hardware: [UInt8], in table: [UInt8]) -> Bool {
    let name = hardware.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    return lines(table).contains { $0.count > 3 && $0[0] == "\(host)" && $0[3] == name }
  }

  private static func lines(_ table: [UInt8]) -> [[Substring]] {
    String(decoding: table, as: UTF8.self).split(separator: "\n").map { line in
      line.split(whereSeparator: \.isWhitespace)
    }
  }
}
