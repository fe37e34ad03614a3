/// What the proxy has carried for a mapping since its background process was started.
struct ProxyCount: Equatable, Sendable {
  /// Connections, associations or udp clients that it has taken on, those that failed then included.
  var clients: UInt64 = 0
  /// Those of them that are there still.
  var open: UInt64 = 0
  /// Bytes that came from clients.
  var bytesIn: UInt64 = 0
  /// Bytes that came from the backend.
  var bytesOut: UInt64 = 0
  /// How often the backend could not be reached, or broke off.
  var failed: UInt64 = 0
  var lastFailure: ProxyFailure?
}

/// A client that the backend has failed.
struct ProxyFailure: Equatable, Sendable {
  /// The reason, as the kernel told it.
  let errno: Int32
  /// When it was, in seconds since 1970.
  let time: Int64
}
