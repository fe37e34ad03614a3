/// What somebody may have meant by a call of `map` that cannot be: the same in portmap's grammar.
///
/// It knows the words of docker (`-p 8080:80`, `localhost:8080:80`, `8080:80/tcp` with the protocol on either side), of
/// ssh and proxies (`8080:172.16.42.2:80`), and backends in the place of a spec.
struct MapCorrection {
  private var specs: [String] = []
  private var backend: String?
  private var options: [String]

  /// The call as it should be; nil where it is not clear what was meant.
  private(set) var command: String?

  init(_ arguments: ParsedArguments) {
    options = arguments.optionWords
    backend = arguments.value("--to")
    var extraPort: Substring?
    if let place = options.firstIndex(of: "--to"), place + 1 < options.count {
      options.removeSubrange(place...(place + 1))
    }
    if let text = backend, let (address, port, _) = Self.endpoint(text[...]) {
      (backend, extraPort) = (address, port)
    }
    for operand in arguments.operands { read(operand) }
    // `map 8080 172.16.42.2:80`: the host's port stands alone.
    if let extraPort { lead(to: extraPort) }
    guard !specs.isEmpty, specs.allSatisfy({ (try? PortSpec($0)) != nil }) else { return }
    let to = backend.map { ["--to", $0] } ?? []
    command = (["portmap", "map"] + specs + to + options + (arguments.command.map { ["--"] + $0 } ?? []))
      .map(ShellWords.quoted).joined(separator: " ")
  }

  /// The call that was meant by docker's `-p 8080:80` or `--publish=8080:80`; nil where that is not what is wrong.
  static func withoutPublish(_ words: [String], options: [OptionDefinition]) -> String? {
    var changed = false
    let rest = words.flatMap { word -> [String] in
      if word == "-p" || word == "--publish" {
        changed = true
        return []
      }
      for prefix in ["--publish=", "-p"] where word.hasPrefix(prefix) {
        changed = true
        return [String(word.dropFirst(prefix.count))]
      }
      return [word]
    }
    guard changed, let arguments = try? ParsedArguments(rest, options: options, startsCommand: true) else {
      return nil
    }
    return MapCorrection(arguments).command
  }

  private mutating func read(_ operand: String) {
    let text = operand.split(whereSeparator: \.isWhitespace).joined()
    if (try? PortSpec(text)) != nil {
      specs.append(text)
    } else if IPAddress(text) != nil || Identifier.isName(text), backend == nil {
      backend = text
    } else if let (address, port, suffix) = Self.endpoint(text[...]) {
      if backend == nil {
        backend = address
        lead(to: port, suffix)
      } else {
        // The backend is known: this is an address of the host's.
        specs.append("\(IPAddress(address).map(\.bracketed) ?? address):\(port):\(port)\(suffix)")
      }
    } else {
      readParts(text)
    }
  }

  /// Leads the one host port that stands alone to a port; a port of its own where there is none.
  private mutating func lead(to port: Substring, _ suffix: String = "") {
    if specs.count == 1, PortRange(specs[0][...]) != nil {
      specs = ["\(specs[0]):\(port)\(suffix)"]
    } else if specs.isEmpty {
      specs = ["\(port)\(suffix)"]
    }
  }

  private mutating func readParts(_ text: String) {
    let (body, suffix) = Self.splitTransport(text)
    let parts = body.split(separator: ":", omittingEmptySubsequences: false)
    if parts.count == 3, PortRange(parts[0]) == nil, PortRange(parts[1]) != nil {
      let isHere = parts[0].lowercased() == "localhost"
      specs.append((isHere ? "127.0.0.1:" : "") + "\(parts[1]):\(parts[2])\(suffix)")
    } else if parts.count >= 3, backend == nil, PortRange(parts[0]) != nil, let last = parts.last,
      let (address, _, _) = Self.endpoint(body[parts[1].startIndex...])
    {
      backend = address
      specs.append("\(parts[0]):\(last)\(suffix)")
    } else {
      specs.append(body + suffix)
    }
  }

  /// Reads `172.16.42.2:80`, `[fd00::2]:80` or `web:80`, with a protocol or without.
  private static func endpoint(_ text: Substring) -> (address: String, port: Substring, suffix: String)? {
    let (body, suffix) = splitTransport(String(text))
    guard let colon = body.lastIndex(of: ":"), PortRange(body[colon...].dropFirst()) != nil else {
      return nil
    }
    let host = body[..<colon]
    let port = body[colon...].dropFirst()
    let bare = host.first == "[" && host.last == "]" ? host.dropFirst().dropLast() : host
    guard SpecText.backendAddress(bare) != nil || Identifier.isName(bare) else { return nil }
    if bare == host, bare.contains(":") { return nil }
    return (String(bare), port, suffix)
  }

  /// Takes the protocols out, wherever they stand and however they are written: `8080/TCP:80`, `53/tcp/udp`.
  private static func splitTransport(_ text: String) -> (body: String, suffix: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    var body = String(parts[0])
    var found: [String] = []
    for part in parts.dropFirst() {
      let name = part.prefix { $0 != ":" }
      for word in name.lowercased().split(separator: "+") where !found.contains(String(word)) {
        found.append(String(word))
      }
      body += part[name.endIndex...]
    }
    found.sort()
    return (body, found.isEmpty || found == ["tcp"] ? "" : "/" + found.joined(separator: "+"))
  }
}

extension MapRequest {
  /// What to say of ports that may have been swapped, where the host's could not be had: it is a low one, the backend's
  /// is not, and people know ports by the latter.
  var swappedPorts: String? {
    let swapped = specs.lazy.compactMap { spec -> String? in
      guard case .fixed(let host) = spec.frontend, host.last < 1024, spec.backend.first >= 1024 else {
        return nil
      }
      return "\(spec.hostAddress.prefix)\(spec.backend):\(host)\(spec.transports.suffix)"
    }.first
    return swapped.map { "the host's port comes first: \($0) is the other way round" }
  }
}

extension TransportChoice {
  fileprivate var suffix: String {
    switch self {
    case .one(let transport): transport.suffix
    case .tcpAndUDP: "/tcp+udp"
    }
  }
}
