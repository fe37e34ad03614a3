import Glibc

enum Transport: String {
  case tcp
  case udp

  init(named name: String) throws(Ending) {
    guard let transport = Self(rawValue: name) else { throw Ending(.usage, "tcp or udp, not \(name)") }
    self = transport
  }
}

/// An address and a port in the kernel's form.
struct Endpoint {
  private var storage = sockaddr_storage()
  private var length = socklen_t(MemoryLayout<sockaddr_storage>.size)

  /// Where a call that fills in an address puts it.
  init(_ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Void) {
    withUnsafeMutablePointer(to: &storage) { storage in
      storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
    }
  }

  /// Reads an address literal, an IPv6 one with its zone where it needs one.
  init(_ address: String, _ port: UInt16) throws(Ending) {
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let result = getaddrinfo(address, "\(port)", &hints, &list)
    guard result == 0, let first = list?.pointee, let source = first.ai_addr else {
      throw Ending(.usage, "not an address: \(address)")
    }
    defer { freeaddrinfo(list) }
    withUnsafeMutableBytes(of: &storage) {
      $0.copyMemory(from: UnsafeRawBufferPointer(start: source, count: Int(first.ai_addrlen)))
    }
    length = first.ai_addrlen
  }

  var isIPv6: Bool { storage.ss_family == sa_family_t(AF_INET6) }

  func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafePointer(to: storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }

  /// The address as text; an IPv4 client of a dual-stack socket looks like one of an IPv4 socket.
  var address: String {
    let text = numeric.host
    return text.hasPrefix("::ffff:") ? String(text.dropFirst(7)) : text
  }

  var port: String { numeric.port }

  private var numeric: (host: String, port: String) {
    var host = [CChar](repeating: 0, count: 128)
    var port = [CChar](repeating: 0, count: 16)
    let flags = NI_NUMERICHOST | NI_NUMERICSERV
    _ = withSockaddr { getnameinfo($0, $1, &host, 128, &port, 16, flags) }
    return (Self.text(host), Self.text(port))
  }

  private static func text(_ characters: [CChar]) -> String {
    String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
