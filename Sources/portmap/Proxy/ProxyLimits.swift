import Glibc

/// What one process may take for traffic. A flood ends here, and so does a circle of mappings, in which one client makes
/// connections without end.
struct ProxyLimits: Sendable {
  /// Descriptors that the process can have open: RLIMIT_NOFILE, whose soft limit the launcher should have raised.
  var descriptors: Int
  /// Udp clients at once, each with a socket and some 300 bytes. More than this are a flood of forged sources
  /// sooner than that many people behind one port.
  var udpClients = 16_384
  /// Connections at once, each with two descriptors. Each also takes a port of the host towards its backend, of the
  /// 28,232 that there are by default for any one backend: those that are left are for the host's other programs.
  var connections = 16_384

  init(descriptors: Int) {
    self.descriptors = descriptors
  }

  /// From the limits of this process as they are now.
  static var current: ProxyLimits {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return ProxyLimits(descriptors: Int(clamping: limit.rlim_cur))
  }

  /// Descriptors for relayed traffic while `sockets` are served: no more than portmap asks the system for, however
  /// many it may have. Some stay back for everything else: the loop, the control socket and its connections, splice's
  /// pipes. Without them a flood could keep `unmap` out.
  func budget(sockets: Int) -> Int {
    let free = descriptors - sockets - min(128, descriptors / 4)
    return min(max(16, free), DescriptorLimit.forTraffic)
  }
}
