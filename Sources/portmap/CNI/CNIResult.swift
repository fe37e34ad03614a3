/// The result of the plugins before this one in the chain (section 5, ADD Success).
struct CNIResult {
  private let body: JSONText
  private let version: CNIVersion

  /// Takes the previous result out of a configuration; nil where there is none.
  init?(_ configuration: CNIConfiguration) throws(CNIError) {
    guard let body = try configuration.body.dictionary("prevResult") else { return nil }
    self.body = body
    version = configuration.version
    let word = try body.text("cniVersion") ?? ""
    guard word.isEmpty || CNIVersion(text: word)?.resultForm == version.resultForm else {
      throw CNIError(
        .invalidConfiguration,
        "prevResult is of another version",
        "prevResult is of version \"\(word)\", the configuration of \(version.text)"
      )
    }
  }

  /// The result unchanged, in the version of the configuration.
  var text: String {
    var text = "{\"cniVersion\":\"\(version.text)\""
    for (key, value) in body.members where key != "cniVersion" {
      text += ",\(JSONText.quoted(key)):"
      text += String(decoding: value.bytes, as: UTF8.self)
    }
    return text + "}\n"
  }

  /// The first IPv4 and the first IPv6 address of an interface in the container. Addresses that do not say which
  /// interface they are on count as its own.
  func addresses(of interface: String) throws(CNIError) -> [IPAddress.Family: IPAddress] {
    var found: [IPAddress.Family: IPAddress] = [:]
    if version.resultForm == .pair {
      for (key, family) in [("ip4", IPAddress.Family.v4), ("ip6", .v6)] {
        guard let address = try body.dictionary(key).flatMap({ ip throws(CNIError) in try ip.text("ip") })
        else {
          continue
        }
        found[family] = try Self.address(address)
      }
      return found
    }
    let others = try othersInterfaces(interface)
    for ip in try body.list("ips") ?? JSONElements.none where found.count < 2 {
      guard let text = try ip.text("address") else { continue }
      if let index = try ip.number("interface"), others.contains(index) { continue }
      let address = try Self.address(text)
      if found[address.family] == nil { found[address.family] = address }
    }
    return found
  }

  /// The indices of interfaces that are not the one, or not in the container.
  private func othersInterfaces(_ name: String) throws(CNIError) -> Set<Int> {
    var others: Set<Int> = []
    var index = 0
    for interface in try body.list("interfaces") ?? JSONElements.none {
      let (title, sandbox) = (try interface.text("name"), try interface.text("sandbox"))
      if title != name || (sandbox ?? "").isEmpty { others.insert(index) }
      index += 1
    }
    return others
  }

  private static func address(_ text: String) throws(CNIError) -> IPAddress {
    guard let address = SpecText.backendAddress(text.prefix { $0 != "/" }), !address.isLoopback else {
      throw CNIError(.invalidConfiguration, "invalid prevResult", "'\(text)' is no address of a container")
    }
    return address
  }
}
