/// The options and operands of `map`, checked as far as that can be done without looking at the host.
extension MapRequest {
  init(_ arguments: ParsedArguments, _ context: Context) throws {
    guard !arguments.operands.isEmpty else {
      throw Failure.usage("map needs a spec", hint: "portmap map 8080:80")
    }
    let specs = try arguments.operands.map { text throws(Failure) in
      if IPAddress(text) != nil {
        throw .usage(
          "invalid spec '\(text)': expected a port, not an address",
          hint: "the backend goes with --to" + (MapCorrection(arguments).command.map { ": \($0)" } ?? "")
        )
      }
      do throws(SpecError) {
        return try PortSpec(text)
      } catch {
        throw .usage(error.message, hint: MapCorrection(arguments).command)
      }
    }
    let noProxy = arguments.has("--no-proxy")
    let proxyOnly = arguments.has("--proxy-only")
    if noProxy, proxyOnly { throw Failure.usage("--no-proxy and --proxy-only exclude each other") }
    let into = try arguments.namespace()
    if into != nil {
      for option in ["--no-proxy", "--masquerade", "--bridge"] where arguments.has(option) {
        throw Failure.usage("--into and \(option) exclude each other: only a proxy leads into a namespace")
      }
    }
    let mode: Mode = noProxy ? .noProxy : proxyOnly || into != nil ? .proxyOnly : .full
    let masquerade = arguments.has("--masquerade")
    if masquerade, proxyOnly {
      throw Failure.usage(
        "--masquerade and --proxy-only exclude each other: a proxy's traffic is the host's own"
      )
    }
    let proxyProtocol = try arguments.proxyProtocol()
    if proxyProtocol != nil {
      guard mode == .proxyOnly else {
        throw Failure.usage("--proxy-protocol needs --proxy-only or --into: no receiver may have to guess")
      }
      guard specs.allSatisfy({ $0.transports == .one(.tcp) }) else {
        throw Failure.usage("--proxy-protocol is for tcp alone")
      }
    }
    let hostAddresses = try arguments.hostAddresses()
    if !hostAddresses.isEmpty, let spec = specs.firstIndex(where: { $0.hostAddress != .every }) {
      throw Failure.usage("--host-ip is for specs without an address, not for '\(arguments.operands[spec])'")
    }
    let to =
      arguments.value("--to") ?? (into == nil ? context.variable("PORTMAP_TO") : "\(IPAddress.loopbackV4)")
    let source = arguments.has("--to") ? "--to" : "PORTMAP_TO"
    if into != nil, let to, SpecText.backendAddress(to) == nil {
      throw Failure.usage("invalid backend '\(to)' for --to: with --into it is an address in that namespace")
    }
    if to != nil, arguments.has("--bridge") {
      throw Failure.usage("--bridge is where an address is taken from, and \(source) names one already")
    }
    if let to, SpecText.backendAddress(to) == nil, !Identifier.isName(to) {
      throw Failure.usage(
        "invalid backend '\(to)' for \(source): expected a unicast address, or the name of an address or a namespace",
        hint: arguments.has("--to") ? MapCorrection(arguments).command : nil
      )
    }
    self.init(
      specs: specs,
      mode: mode,
      hostAddresses: hostAddresses,
      to: to,
      into: into,
      bridge: try arguments.bridge(context),
      range: try arguments.portRange(context),
      masquerade: masquerade,
      proxyProtocol: proxyProtocol
    )
    try checkOverlaps(arguments.operands)
    try checkModes(arguments.operands)
  }

  /// No two specs may need the same host port.
  private func checkOverlaps(_ texts: [String]) throws(Failure) {
    var seen: [Transport: [(HostAddress, PortRange, String)]] = [:]
    for (spec, text) in zip(specs, texts) {
      guard case .fixed(let ports) = spec.frontend else { continue }
      for transport in spec.transports.transports {
        for host in hosts(of: spec) {
          for (other, taken, first) in seen[transport] ?? []
          where other.overlaps(host) && taken.overlaps(ports) {
            throw .usage("'\(first)' and '\(text)' need the same host port")
          }
          seen[transport, default: []].append((host, ports, text))
        }
      }
    }
  }

  private func checkModes(_ texts: [String]) throws(Failure) {
    guard mode == .noProxy else { return }
    if let to, IPAddress(to)?.isLoopback ?? false {
      throw .usage(
        "\(to): a loopback backend is reached through the proxy alone, which --no-proxy leaves out"
      )
    }
    for (spec, text) in zip(specs, texts) where hosts(of: spec).contains(where: \.isLoopback) {
      throw .usage(
        "'\(text)': a loopback address is reached through the proxy alone, which --no-proxy leaves out"
      )
    }
  }
}
