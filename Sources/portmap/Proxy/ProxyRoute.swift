import Glibc

/// Where the traffic of one frontend socket goes, and how.
struct ProxyRoute: Sendable {
  let transport: Transport
  let backend: SocketAddress
  /// The header that each TCP connection begins with; has no meaning for the others.
  var proxyProtocol: ProxyProtocol?
  /// Seconds without traffic in either direction after which a udp client is forgotten.
  var udpTimeout = 90

  init(
    transport: Transport,
    backend: SocketAddress,
    proxyProtocol: ProxyProtocol? = nil,
    udpTimeout: Int = 90
  ) {
    self.transport = transport
    self.backend = backend
    self.proxyProtocol = proxyProtocol
    self.udpTimeout = udpTimeout
  }
}

/// What a proxy may take. Each limit has its reason where it is used.
struct ProxyLimits: Sendable {
  /// Descriptors that the process can have open: RLIMIT_NOFILE, whose soft limit the launcher should have raised.
  var descriptors: Int
  /// Udp clients at once, each with a socket and some 300 bytes. More than this are a flood of forged sources
  /// sooner than that many people behind one port.
  var udpClients = 16_384
  /// Connections at once; two descriptors each, so that `descriptors` is what limits them.
  var connections = Int.max

  init(descriptors: Int) {
    self.descriptors = descriptors
  }

  /// From the limits of this process as they are now.
  static var current: ProxyLimits {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return ProxyLimits(descriptors: Int(clamping: limit.rlim_cur))
  }

  /// Descriptors for relayed traffic while `sockets` are served. Some stay back for everything else: the loop, the
  /// control socket and its connections, splice's pipes. Without them a flood could keep `unmap` out.
  func budget(sockets: Int) -> Int {
    max(16, descriptors - sockets - min(128, descriptors / 4))
  }
}
