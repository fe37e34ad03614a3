import Foundation

/// Options that several commands have.
extension ParsedArguments {
  func hostAddresses() throws(Failure) -> [HostAddress] {
    var addresses: [HostAddress] = []
    for text in all("--host-ip") {
      guard let address = SpecText.hostAddress(text) else {
        throw .usage("invalid address '\(text)' for --host-ip: expected a unicast IPv4 or IPv6 address")
      }
      guard !addresses.contains(where: { $0.overlaps(.one(address)) }) else {
        throw .usage("--host-ip \(text) is among the addresses already")
      }
      addresses.append(.one(address))
    }
    return addresses
  }

  func proxyProtocol() throws(Failure) -> ProxyProtocol? {
    guard let text = value("--proxy-protocol") else { return nil }
    guard let version = ProxyProtocol(rawValue: text) else {
      throw .usage("invalid version '\(text)' for --proxy-protocol: expected v1 or v2")
    }
    return version
  }

  /// The network namespace of `--into`. A relative path is made an absolute one: it is looked at again from elsewhere.
  func namespace() throws(Failure) -> NamespaceName? {
    guard let text = value("--into") else { return nil }
    let isRelative = text.contains("/") && !text.hasPrefix("/")
    let path = isRelative ? "\(FileManager.default.currentDirectoryPath)/\(text)" : text
    guard let name = NamespaceName(path) else {
      throw .usage(
        "invalid namespace '\(text)' for --into: expected a name under /run/netns, a process or a path"
      )
    }
    return name
  }

  func portRange(_ context: Context) throws(Failure) -> PortRange {
    let option = value("--range")
    guard let text = option ?? context.variable("PORTMAP_RANGE") else { return .automatic }
    guard let range = PortRange(text[...]) else {
      let name = option == nil ? "PORTMAP_RANGE" : "--range"
      throw .usage("invalid range '\(text)' for \(name): expected FIRST-LAST within 1-65535")
    }
    return range
  }

  func bridge(_ context: Context) throws(Failure) -> String? {
    let option = value("--bridge")
    guard let name = option ?? context.variable("PORTMAP_BRIDGE") else { return nil }
    guard Identifier.isName(name) || Identifier.isID(name) else {
      let source = option == nil ? "PORTMAP_BRIDGE" : "--bridge"
      throw .usage("invalid name '\(name)' for \(source): expected the name of a bridge")
    }
    return name
  }
}
