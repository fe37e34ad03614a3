/// What dockerd's userland proxy is asked for.
enum DockerProxyCall: Equatable {
  case version
  case forward(DockerProxyOptions)

  /// Reads the flags as dockerd writes them, in the manner of Go's `flag`: one dash or two, the value behind `=` or in
  /// the next word, the last of several alike counts. A switch has a value behind `=` only.
  init(_ words: [String]) throws(DockerProxyUsageError) {
    var values: [DockerProxyFlag: String] = [:]
    var rest = words[...]
    while let word = rest.popFirst() {
      let (name, attached) = try Self.split(word)
      guard let flag = DockerProxyFlag(rawValue: name) else { throw .unknownFlag(word) }
      guard let value = attached ?? (flag.isSwitch ? "true" : rest.popFirst()) else {
        throw .missingValue(flag)
      }
      values[flag] = value
    }
    let tellsVersion = try (Self.isOn(.version, values), Self.isOn(.shortVersion, values))
    self = try tellsVersion == (false, false) ? .forward(DockerProxyOptions(values)) : .version
  }

  /// Splits `-proto=tcp` or `--proto` into the name and the value.
  private static func split(_ word: String) throws(DockerProxyUsageError) -> (name: String, value: String?) {
    guard word.hasPrefix("-") else { throw .unexpectedWord(word) }
    let text = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
    guard let equals = text.firstIndex(of: "=") else { return (String(text), nil) }
    return (String(text[..<equals]), String(text[text.index(after: equals)...]))
  }

  /// Reads a switch by the words that Go takes for true and false.
  fileprivate static func isOn(
    _ flag: DockerProxyFlag,
    _ values: [DockerProxyFlag: String]
  ) throws(DockerProxyUsageError) -> Bool {
    switch values[flag] {
    case "1", "t", "T", "true", "TRUE", "True": true
    case nil, "0", "f", "F", "false", "FALSE", "False": false
    case .some(let value): throw .invalidValue(flag, value)
    }
  }
}

/// A port of this host and the container's port that it leads to.
struct DockerProxyOptions: Equatable {
  /// Where the proxy listens.
  enum Frontend: Equatable {
    /// It binds this address, of one family alone: `0.0.0.0` and `::` are two proxies.
    case address(SocketAddress)
    /// It is handed a socket that is bound, and listening unless it is a udp one.
    case inherited
  }

  let transport: Transport
  let frontend: Frontend
  let backend: SocketAddress

  fileprivate init(_ values: [DockerProxyFlag: String]) throws(DockerProxyUsageError) {
    let name = values[.transport] ?? "tcp"
    guard let transport = Transport(rawValue: name) else { throw .invalidValue(.transport, name) }
    self.transport = transport
    backend = SocketAddress(
      try Self.address(.containerIP, values),
      port: try Self.port(.containerPort, values)
    )
    if try DockerProxyCall.isOn(.useListenDescriptor, values) {
      frontend = .inherited
    } else {
      let host = values[.hostIP] == nil ? .anyV4 : try Self.address(.hostIP, values)
      frontend = .address(SocketAddress(host, port: try Self.port(.hostPort, values)))
    }
  }

  private static func address(
    _ flag: DockerProxyFlag,
    _ values: [DockerProxyFlag: String]
  ) throws(DockerProxyUsageError) -> IPAddress {
    guard let value = values[flag] else { throw .missingFlag(flag) }
    guard let address = IPAddress(value) else { throw .invalidValue(flag, value) }
    return address
  }

  private static func port(
    _ flag: DockerProxyFlag,
    _ values: [DockerProxyFlag: String]
  ) throws(DockerProxyUsageError) -> UInt16 {
    guard let value = values[flag] else { throw .missingFlag(flag) }
    guard let port = PortRange.port(value[...]), port > 0 else { throw .invalidValue(flag, value) }
    return port
  }
}

/// The flags of dockerd's userland proxy by their names.
enum DockerProxyFlag: String {
  case transport = "proto"
  case hostIP = "host-ip"
  case hostPort = "host-port"
  case containerIP = "container-ip"
  case containerPort = "container-port"
  case useListenDescriptor = "use-listen-fd"
  case shortVersion = "v"
  case version

  var isSwitch: Bool { [.useListenDescriptor, .shortVersion, .version].contains(self) }
}

/// A mistake in the flags.
enum DockerProxyUsageError: Error, Equatable {
  case unexpectedWord(String)
  case unknownFlag(String)
  case missingFlag(DockerProxyFlag)
  case missingValue(DockerProxyFlag)
  case invalidValue(DockerProxyFlag, String)
}

extension DockerProxyUsageError: CustomStringConvertible {
  /// The mistake in words for dockerd, which puts them behind its own.
  var description: String {
    switch self {
    case .unexpectedWord(let word): "unexpected argument '\(word)'"
    case .unknownFlag(let word): "unknown flag '\(word)'"
    case .missingFlag(let flag): "-\(flag.rawValue) is missing"
    case .missingValue(let flag): "-\(flag.rawValue) needs a value"
    case .invalidValue(let flag, let value): "invalid value '\(value)' for -\(flag.rawValue)"
    }
  }
}
