/// The control protocol of the background process, version 1: a message a request, and one or more in answer.
/// docs/protocol.md has the bytes, and the rules by which portmaps of different ages understand each other.
enum HolderMessage: Equatable {
  /// Sockets for holdings come with the message, in the holdings' order: `count` of them for each, from the
  /// `offset`th on. Answered by `done`.
  case hold([Part])
  /// Serve from now on, and live on when the one who says so has ended. Answered by `done`.
  case begin
  /// Asks for copies of a holding's sockets, one a port and in their order. Answered by `sockets`, as often as it takes;
  /// a process of the first version refuses those that it serves itself.
  case take(id: String)
  /// Close the sockets and connections of these holdings; the process ends with the last. Answered by `done`.
  case release(ids: [String])
  /// Asks for what is held. Answered by `described`, as often as it takes, an empty one at the end.
  case describe
  /// Asks for the network namespace that the process is in. Answered by `located`; the first version refuses.
  case locate
  /// The network namespace to enter before anything else is done; its descriptor comes with the message. Answered by
  /// `done`.
  case enter(GuestNamespace)
  /// Asks for the namespace that was entered. Answered by `entered`; a process that has entered none, and an older
  /// version, refuses.
  case askForEntered
  /// Asks for what the proxy has carried. Answered by `counted`, as often as it takes; with the last of them the
  /// process hangs up. The first version refuses.
  case count

  case done
  case sockets(remaining: UInt32)
  case described([Holding])
  /// The cookie of the network namespace (SO_NETNS_COOKIE).
  case located(cookie: UInt64)
  case entered(GuestNamespace)
  /// Those of the holdings that anybody has used, and how many are still to come in further messages.
  case counted(remaining: UInt32, [HoldingCount])
  /// The answer to a request that cannot be granted. The first version of portmap gives no reason.
  case refused(Refusal?)
  /// The answer to the first request where something could not be done at the start: the process ends with it.
  case failed(SystemError)

  struct Part: Equatable {
    let holding: Holding
    let offset: UInt16
    let count: UInt16
  }

  static let version: UInt8 = 1
  /// How many holdings, ids or counts of them, go into a message: 60 bytes each at most.
  static let holdingsPerMessage = 250

  var bytes: [UInt8] {
    var writer = ByteWriter()
    writer.put(Self.version)
    switch self {
    case .hold(let parts):
      writer.put(UInt8(1))
      for part in parts {
        part.holding.encode(to: &writer)
        writer.put(part.offset)
        writer.put(part.count)
      }
    case .begin: writer.put(UInt8(2))
    case .take(let id):
      writer.put(UInt8(3))
      writer.put(id: id)
    case .release(let ids):
      writer.put(UInt8(4))
      for id in ids { writer.put(id: id) }
    case .describe: writer.put(UInt8(5))
    case .locate: writer.put(UInt8(6))
    case .enter(let guest):
      writer.put(UInt8(7))
      writer.put(guest)
    case .askForEntered: writer.put(UInt8(8))
    case .count: writer.put(UInt8(9))
    case .done: writer.put(UInt8(128))
    case .sockets(let remaining):
      writer.put(UInt8(129))
      writer.put(remaining)
    case .described(let holdings):
      writer.put(UInt8(130))
      for holding in holdings { holding.encode(to: &writer) }
    case .refused(nil): writer.put(UInt8(131))
    case .refused(let refusal?):
      writer.put(UInt8(132))
      writer.put(refusal.rawValue)
    case .failed(let error):
      writer.put(UInt8(133))
      writer.put(error.errno)
      writer.put(text: error.subject ?? error.call)
    case .located(let cookie):
      writer.put(UInt8(134))
      writer.put(cookie)
    case .entered(let guest):
      writer.put(UInt8(135))
      writer.put(guest)
    case .counted(let remaining, let counts):
      writer.put(UInt8(136))
      writer.put(remaining)
      for count in counts { count.encode(to: &writer) }
    }
    return writer.bytes
  }

  /// Nil for what is no message of this version.
  init?(_ bytes: [UInt8]) {
    var reader = ByteReader(bytes[...])
    guard reader.number(UInt8.self) == Self.version, let kind = reader.number(UInt8.self) else { return nil }
    switch kind {
    case 1:
      var parts: [Part] = []
      while !reader.isAtEnd {
        guard let holding = Holding(from: &reader), let offset = reader.number(UInt16.self),
          let count = reader.number(UInt16.self)
        else { return nil }
        parts.append(Part(holding: holding, offset: offset, count: count))
      }
      self = .hold(parts)
    case 2: self = .begin
    case 3:
      guard let id = reader.id() else { return nil }
      self = .take(id: id)
    case 4:
      var ids: [String] = []
      while !reader.isAtEnd {
        guard let id = reader.id() else { return nil }
        ids.append(id)
      }
      self = .release(ids: ids)
    case 5: self = .describe
    case 6: self = .locate
    case 7:
      guard let guest = reader.guest() else { return nil }
      self = .enter(guest)
    case 8: self = .askForEntered
    case 9: self = .count
    case 128: self = .done
    case 129:
      guard let remaining = reader.number(UInt32.self) else { return nil }
      self = .sockets(remaining: remaining)
    case 130:
      var holdings: [Holding] = []
      while !reader.isAtEnd {
        guard let holding = Holding(from: &reader) else { return nil }
        holdings.append(holding)
      }
      self = .described(holdings)
    case 131: self = .refused(nil)
    case 132:
      guard let number = reader.number(UInt8.self) else { return nil }
      self = .refused(Refusal(rawValue: number))
    case 133:
      guard let errno = reader.number(Int32.self) else { return nil }
      self = .failed(SystemError(call: reader.text(), errno: errno))
    case 134:
      guard let cookie = reader.number(UInt64.self) else { return nil }
      self = .located(cookie: cookie)
    case 135:
      guard let guest = reader.guest() else { return nil }
      self = .entered(guest)
    case 136:
      guard let remaining = reader.number(UInt32.self) else { return nil }
      var counts: [HoldingCount] = []
      while !reader.isAtEnd {
        guard let count = HoldingCount(from: &reader) else { return nil }
        counts.append(count)
      }
      self = .counted(remaining: remaining, counts)
    default: return nil
    }
    guard reader.isAtEnd else { return nil }
  }
}

/// Why a background process does not do what it was asked.
struct Refusal: RawRepresentable, Equatable {
  let rawValue: UInt8

  /// It holds nothing of that id.
  static let notHeld = Refusal(rawValue: 1)
  /// The message is none that it knows, or comes at the wrong time.
  static let notUnderstood = Refusal(rawValue: 3)
  /// The caller is neither root nor the user that it belongs to.
  static let notAllowed = Refusal(rawValue: 4)
}

extension Refusal: CustomStringConvertible {
  var description: String {
    switch self {
    case .notHeld: "it does not hold that"
    case .notUnderstood: "it does not understand the request: it is of another version of portmap"
    case .notAllowed: "it answers only root and the user that it belongs to"
    default: "it refused (reason \(rawValue))"
    }
  }
}

extension ByteWriter {
  /// Writes a text that goes to the end of the message.
  fileprivate mutating func put(text: String) {
    for byte in text.utf8.prefix(longestText) { put(byte) }
  }

  fileprivate mutating func put(_ guest: GuestNamespace) {
    put(guest.identity.inode)
    put(guest.identity.startTime ?? 0)
    let name = guest.name.text.utf8
    put(UInt16(name.count))
    for byte in name { put(byte) }
  }
}

extension ByteReader {
  fileprivate mutating func text() -> String {
    var bytes: [UInt8] = []
    while let byte = number(UInt8.self) { bytes.append(byte) }
    return String(decoding: bytes.prefix(longestText), as: UTF8.self)
  }

  fileprivate mutating func guest() -> GuestNamespace? {
    guard let inode = number(UInt64.self), let startTime = number(UInt64.self),
      let count = number(UInt16.self)
    else { return nil }
    var bytes: [UInt8] = []
    while bytes.count < count {
      guard let byte = number(UInt8.self) else { return nil }
      bytes.append(byte)
    }
    guard let name = String(validating: bytes, as: UTF8.self).flatMap({ NamespaceName($0) }) else {
      return nil
    }
    let identity = NamespaceIdentity(inode: inode, startTime: startTime == 0 ? nil : startTime)
    return GuestNamespace(name: name, identity: identity)
  }
}

/// Bytes of a text, of which no more is sent or taken in.
private let longestText = 255
