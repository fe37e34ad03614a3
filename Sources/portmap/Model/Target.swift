/// An operand of `unmap` and `list`, in any form that `map`, `alloc` and `list` take or print.
enum Target: Equatable, Sendable {
  case ports(ReservationSpec)
  /// A whole spec, and how it was typed.
  case spec(PortSpec, typed: String)
  /// A line of map or list, `8080->172.16.42.2:80/udp`.
  case line(String)
  case address(IPAddress)
  case name(String)
  case id(String)

  /// Reads a target: a port or spec first, then an address, a name, an id.
  ///
  /// - Throws: SpecError where it is none of them.
  init(_ text: String) throws(SpecError) {
    if text.contains("->") {
      try Self.check(line: text)
      self = .line(text)
    } else if let ports = try? ReservationSpec(text), ports.ports != nil {
      self = .ports(ports)
    } else if let spec = try? PortSpec(text) {
      self = .spec(spec, typed: text)
    } else if let address = IPAddress(text) {
      self = .address(address)
    } else if Identifier.isName(text) {
      self = .name(text)
    } else if Identifier.isID(text) {
      self = .id(text)
    } else {
      throw SpecError(
        text: text,
        expected: "a port, a spec, a line that map printed, an address, a name or an id"
      )
    }
  }

  /// Refuses a line that is not a spec with `->ADDRESS` in its middle.
  private static func check(line: String) throws(SpecError) {
    let wrong = SpecError(text: line, expected: "[HOST_IP:]HOST->ADDRESS:BACKEND[/PROTO], as map prints it")
    guard let arrow = line.firstRange(of: "->"), let colon = line[arrow.upperBound...].lastIndex(of: ":")
    else {
      throw wrong
    }
    let address = line[arrow.upperBound..<colon]
    let bare = address.first == "[" && address.last == "]" ? address.dropFirst().dropLast() : address
    let frontend = line[..<arrow.lowerBound]
    guard SpecText.backendAddress(bare) != nil, frontend.last?.isNumber ?? false,
      case .fixed? = (try? PortSpec(String(frontend + line[colon...])))?.frontend
    else { throw wrong }
  }
}
