/// A spec of `map`: `[HOST_IP:][HOST[-END]]:BACKEND[-END][/PROTO]`, or just `BACKEND[-END][/PROTO]`.
struct PortSpec: Equatable, Sendable {
  /// The host ports that a spec asks for.
  enum Frontend: Equatable, Sendable {
    /// Any free port, or run of ports where the backend is one.
    case allocated
    /// Exactly these, which lead to the backend's ports pairwise.
    case fixed(PortRange)
    /// Any one of these, for a single backend port.
    case anyOf(PortRange)
  }

  let hostAddress: HostAddress
  let frontend: Frontend
  let backend: PortRange
  let transports: TransportChoice

  /// Reads a spec.
  ///
  /// - Throws: SpecError, which quotes `text` and says what was expected.
  init(_ text: String) throws(SpecError) {
    func refuse(_ expected: String) -> SpecError { SpecError(text: text, expected: expected) }

    let (body, transports) = try SpecText.splitTransport(text)
    self.transports = transports
    let (address, rest) = try SpecText.splitAddress(body, of: text, portsBehind: 2)
    hostAddress = address

    let parts = rest.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count <= 2 else { throw refuse("[HOST_IP:][HOST[-END]]:BACKEND[-END][/PROTO]") }
    guard let backend = PortRange(parts[parts.count - 1]) else {
      throw refuse("a backend port 1-65535, or a range of them in ascending order")
    }
    self.backend = backend
    guard parts.count == 2 else {
      frontend = .allocated
      return
    }
    if parts[0].isEmpty {
      frontend = address == .every ? .fixed(backend) : .allocated
    } else if parts[0].utf8.allSatisfy({ $0 == UInt8(ascii: "0") }), PortRange.port(parts[0]) == 0 {
      frontend = .allocated
    } else if let range = PortRange(parts[0]) {
      if range.count == backend.count {
        frontend = .fixed(range)
      } else if backend.isSingle {
        frontend = .anyOf(range)
      } else {
        throw refuse("as many host ports as backend ports")
      }
    } else {
      throw refuse("a host port 0-65535, or a range of ports in ascending order")
    }
  }

  /// The number of consecutive host ports that the spec takes.
  var width: Int { backend.count }
}

/// A spec that does not follow the grammar: a usage error.
struct SpecError: Error, Equatable {
  let text: String
  let expected: String
}

/// Readers of the parts that all kinds of specs have.
enum SpecText {
  /// Splits `/PROTO` off; tcp where there is none.
  static func splitTransport(_ text: String) throws(SpecError) -> (Substring, TransportChoice) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count > 1 else { return (parts[0], .one(.tcp)) }
    guard parts.count == 2, let transports = TransportChoice(parts[1]) else {
      throw SpecError(text: text, expected: "one of /tcp, /udp, /sctp and /tcp+udp at the end")
    }
    return (parts[0], transports)
  }

  /// Splits `HOST_IP:` off; an IPv6 address stands in brackets.
  ///
  /// - Parameter portsBehind: The number of parts that follow the address, separated by colons.
  static func splitAddress(
    _ body: Substring,
    of text: String,
    portsBehind: Int
  ) throws(SpecError) -> (HostAddress, Substring) {
    if body.first == "[" {
      guard let end = body.firstIndex(of: "]"), body[end...].dropFirst().first == ":" else {
        throw SpecError(text: text, expected: "an IPv6 address in brackets and a colon")
      }
      guard let address = hostAddress(body[body.index(after: body.startIndex)..<end]), address.family == .v6
      else {
        throw SpecError(text: text, expected: "a unicast IPv6 address in the brackets, without a zone")
      }
      let rest = body[end...].dropFirst(2)
      guard rest.split(separator: ":", omittingEmptySubsequences: false).count == portsBehind else {
        throw SpecError(
          text: text,
          expected: portsBehind == 2 ? "[IPV6]:[HOST[-END]]:BACKEND[-END]" : "[IPV6]:PORT[-END]"
        )
      }
      return (.one(address), rest)
    }
    let parts = body.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == portsBehind + 1 else { return (.every, body) }
    guard let address = hostAddress(parts[0]), address.family == .v4 else {
      throw SpecError(
        text: text,
        expected: portsBehind == 1
          ? "[HOST_IP:]PORT[-END][/PROTO], a port without a backend"
          : "a unicast IPv4 address, or an IPv6 one in brackets, before the port"
      )
    }
    return (.one(address), body[parts[1].startIndex...])
  }

  /// Reads an address that a port of the host can be on; nil for names, zones and all that is no unicast address, and
  /// for IPv6's link-local ones, which need a zone.
  static func hostAddress(_ text: some StringProtocol) -> IPAddress? {
    guard let address = IPAddress(text), !address.isMulticast, !address.isBroadcast, !address.isIPv4Mapped,
      !(address.family == .v6 && address.isLinkLocal)
    else { return nil }
    return address
  }

  /// Reads an address that traffic can be sent to: as `hostAddress`, but not `0.0.0.0` or `::`.
  static func backendAddress(_ text: some StringProtocol) -> IPAddress? {
    hostAddress(text).flatMap { $0.isUnspecified ? nil : $0 }
  }
}
