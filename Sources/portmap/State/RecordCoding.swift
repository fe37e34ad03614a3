/// The records of which there may be thousands, as they stand in the state file: a text each, with spaces in between.

extension MappingRecord: TextCodable {
  /// `a1b2c3d4 udp * 8080 8080 172.16.42.2 80 80 c1b2c3d4 12 active nat proxy|RULE|RULE`: id, transport, host address,
  /// ports and backend, the background process (`-` for none), the number of the call, the status, whatever else holds, and
  /// the rules. What declares it is among the last of the words: `from=3:/etc/portmap.conf`, and `over=` what declares the
  /// reservation that it took over; behind these stand `nohairpin`, and `into=4026532201:web`, the network namespace that
  /// its proxy has entered.
  init?(text: String) {
    let parts = Array(text.utf8).split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
    var words = WordReader(parts[0])
    guard let id = words.text(), let pair = PortPair(from: &words),
      let holder = words.text(), let serial = words.number(Int.self),
      let status = words.value(Status.init(rawValue:))
    else { return nil }
    var delivery = Delivery(
      rules: parts.count > 1,
      nat: words.take("nat"),
      connect: words.take("connect"),
      proxy: words.take("proxy"),
      masquerade: words.take("masquerade"),
      proxyProtocol: words.value(ProxyProtocol.init(rawValue:))
    )
    let scope = words.value(ProcessIdentity.init(text:))
    let (origin, tookOver) = (words.origin("from"), words.origin("over"))
    delivery.hairpin = !words.take("nohairpin")
    let mapping = Mapping(
      id: id,
      pair: pair,
      delivery: delivery,
      scope: scope,
      origin: origin,
      tookOver: tookOver,
      into: words.labelled("into", GuestNamespace.init(text:))
    )
    guard words.isAtEnd else { return nil }
    self.init(
      mapping: mapping,
      holder: holder == "-" ? "" : holder,
      serial: serial,
      status: status
    )
    for part in parts.dropFirst() {
      guard let rule = Rule(part) else { return nil }
      rules.append(rule)
    }
  }

  var text: String {
    let delivery = mapping.delivery
    let owner = holder.isEmpty ? "-" : holder
    var text = "\(mapping.id) \(mapping.pair.text) \(owner) \(serial) \(status.rawValue)"
    if delivery.nat { text += " nat" }
    if delivery.connect { text += " connect" }
    if delivery.proxy { text += " proxy" }
    if delivery.masquerade { text += " masquerade" }
    if let proxyProtocol = delivery.proxyProtocol { text += " \(proxyProtocol.rawValue)" }
    if let scope = mapping.scope { text += " \(scope.text)" }
    if let origin = mapping.origin { text += " from=\(origin.text)" }
    if let origin = mapping.tookOver { text += " over=\(origin.text)" }
    if !delivery.hairpin { text += " nohairpin" }
    if let guest = mapping.into { text += " into=\(guest.text)" }
    for rule in rules { text += "|\(rule.text)" }
    return text
  }
}

extension PortPair {
  /// Reads `udp * 8080 8080 172.16.42.2 80 80`.
  fileprivate init?(from words: inout WordReader) {
    guard let transport = words.value(Transport.init(rawValue:)), let hostIP = words.value(HostAddress.init),
      let hostPorts = PortRange(from: &words), let backendIP = words.value(IPAddress.init(text:)),
      let backendPorts = PortRange(from: &words)
    else { return nil }
    self.init(
      transport: transport,
      hostIP: hostIP,
      hostPorts: hostPorts,
      backendIP: backendIP,
      backendPorts: backendPorts
    )
  }

  fileprivate var text: String {
    "\(transport.rawValue) \(hostIP) \(hostPorts.first) \(hostPorts.last)"
      + " \(backendIP) \(backendPorts.first) \(backendPorts.last)"
  }
}

extension PortRange {
  /// Reads the first and the last port.
  fileprivate init?(from words: inout WordReader) {
    guard let first = words.number(UInt16.self), let last = words.number(UInt16.self) else { return nil }
    self.init(first: first, last: last)
  }
}

extension ReservationRecord: TextCodable {
  /// `a1b2c3d4 tcp * 8080 c1b2c3d4`: id, transport, host address, port, background process (`-` for none), and
  /// whatever else holds.
  init?(text: String) {
    var words = WordReader(ArraySlice(text.utf8))
    guard let id = words.text(), let transport = words.value(Transport.init(rawValue:)),
      let hostIP = words.value(HostAddress.init), let port = words.number(UInt16.self), port > 0,
      let holder = words.text()
    else { return nil }
    let reservation = Reservation(
      id: id,
      transport: transport,
      hostIP: hostIP,
      port: port,
      isLent: words.take("lent"),
      scope: words.value(ProcessIdentity.init(text:)),
      origin: words.origin("from")
    )
    guard words.isAtEnd else { return nil }
    self.init(reservation: reservation, holder: holder == "-" ? "" : holder)
  }

  var text: String {
    let owner = holder.isEmpty ? "-" : holder
    var text =
      "\(reservation.id) \(reservation.transport.rawValue) \(reservation.hostIP) \(reservation.port) \(owner)"
    if reservation.isLent { text += " lent" }
    if let scope = reservation.scope { text += " \(scope.text)" }
    if let origin = reservation.origin { text += " from=\(origin.text)" }
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

extension WordReader {
  /// Reads `KEY=LINE:NAME` if that is the next word.
  fileprivate mutating func origin(_ key: String) -> Origin? { labelled(key, Origin.init(text:)) }

  /// Reads `KEY=…` if that is the next word, and it means a value.
  fileprivate mutating func labelled<Value>(_ key: String, _ meaning: (String) -> Value?) -> Value? {
    value { word in
      guard word.hasPrefix("\(key)=") else { return nil }
      return meaning(String(word.dropFirst(key.count + 1)))
    }
  }
}
