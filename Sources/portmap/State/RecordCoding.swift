/// The records of which there may be thousands, as they stand in the state file: a text each, with spaces in between.

extension Mapping: TextCodable {
  /// `a1b2c3d4 udp * 8080 8080 172.16.42.2 80 80 c1b2c3d4 12 active nat proxy|RULE|RULE`: id, transport, host address,
  /// ports and backend, the background process, the number of the call, the status, whatever else holds, and the rules.
  init?(text: String) {
    let parts = Array(text.utf8).split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
    var words = WordReader(parts[0])
    guard let id = words.text(), let transport = words.value(Transport.init(rawValue:)),
      let hostIP = words.value(HostAddress.init), let hostPort = words.number(UInt16.self),
      let hostPortEnd = words.number(UInt16.self), PortRange(first: hostPort, last: hostPortEnd) != nil,
      let backendIP = words.value(IPAddress.init(text:)), let backendPort = words.number(UInt16.self),
      let backendPortEnd = words.number(UInt16.self),
      PortRange(first: backendPort, last: backendPortEnd) != nil,
      let holder = words.text(), let serial = words.number(Int.self),
      let status = words.value(Status.init(rawValue:))
    else { return nil }
    let nat = words.take("nat")
    let proxy = words.take("proxy")
    self.init(
      id: id,
      transport: transport,
      hostIP: hostIP,
      hostPort: hostPort,
      hostPortEnd: hostPortEnd,
      backendIP: backendIP,
      backendPort: backendPort,
      backendPortEnd: backendPortEnd,
      nat: nat,
      proxy: proxy,
      masquerade: words.take("masquerade"),
      proxyProtocol: words.value(ProxyProtocol.init(rawValue:)),
      holder: holder,
      serial: serial,
      status: status,
      scope: words.value(ProcessIdentity.init(text:))
    )
    for part in parts.dropFirst() {
      guard let rule = Rule(part) else { return nil }
      rules.append(rule)
    }
    guard words.isAtEnd else { return nil }
  }

  var text: String {
    var text = "\(id) \(transport.rawValue) \(hostIP) \(hostPort) \(hostPortEnd)"
    text += " \(backendIP) \(backendPort) \(backendPortEnd) \(holder) \(serial) \(status.rawValue)"
    if nat { text += " nat" }
    if proxy { text += " proxy" }
    if masquerade { text += " masquerade" }
    if let proxyProtocol { text += " \(proxyProtocol.rawValue)" }
    if let scope { text += " \(scope.text)" }
    for rule in rules { text += "|\(rule.text)" }
    return text
  }
}

extension Reservation: TextCodable {
  /// `a1b2c3d4 tcp * 8080 c1b2c3d4`: id, transport, host address, port, background process (`-` for none), and
  /// whatever else holds.
  init?(text: String) {
    var words = WordReader(ArraySlice(text.utf8))
    guard let id = words.text(), let transport = words.value(Transport.init(rawValue:)),
      let hostIP = words.value(HostAddress.init), let port = words.number(UInt16.self), port > 0,
      let holder = words.text()
    else { return nil }
    self.init(
      id: id,
      transport: transport,
      hostIP: hostIP,
      port: port,
      holder: holder == "-" ? "" : holder,
      lent: words.take("lent"),
      scope: words.value(ProcessIdentity.init(text:))
    )
    guard words.isAtEnd else { return nil }
  }

  var text: String {
    var text = "\(id) \(transport.rawValue) \(hostIP) \(port) \(holder.isEmpty ? "-" : holder)"
    if lent { text += " lent" }
    if let scope { text += " \(scope.text)" }
    return text
  }
}

extension HolderRecord: TextCodable {
  /// `c1b2c3d4 4242@123456`
  init?(text: String) {
    var words = WordReader(ArraySlice(text.utf8))
    guard let id = words.text(), let process = words.value(ProcessIdentity.init(text:)), words.isAtEnd else {
      return nil
    }
    self.init(id: id, process: process)
  }

  var text: String { "\(id) \(process.text)" }
}

extension ProcessIdentity: TextCodable {
  /// `4242@123456`: the process's number and when it started.
  init?(text: String) {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, let pid = Int32(parts[0]), let startTime = UInt64(parts[1]) else { return nil }
    self.init(pid: pid, startTime: startTime)
  }

  var text: String { "\(pid)@\(startTime)" }
}
