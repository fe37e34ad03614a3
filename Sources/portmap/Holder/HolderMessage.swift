/// The control protocol of the background process, version 1: a message a request, and one or more in answer.
enum HolderMessage: Equatable {
  /// Sockets for holdings come with the message, in the holdings' order: `count` of them for each, from the
  /// `offset`th on. Answered by `done`.
  case hold([Part])
  /// Serve from now on, and live on when the one who says so has ended. Answered by `done`.
  case begin
  /// Asks for copies of a holding's sockets. Answered by `sockets`, as often as it takes.
  case take(id: String)
  /// Close the sockets and connections of these holdings; the process ends with the last. Answered by `done`.
  case release(ids: [String])
  /// Asks for what is held. Answered by `described`, as often as it takes, an empty one at the end.
  case describe

  case done
  case sockets(remaining: UInt32)
  case described([Holding])
  case refused

  struct Part: Equatable {
    let holding: Holding
    let offset: UInt16
    let count: UInt16
  }

  static let version: UInt8 = 1
  /// How many holdings, or ids of them, go into a message: 59 bytes each at most.
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
    case .done: writer.put(UInt8(128))
    case .sockets(let remaining):
      writer.put(UInt8(129))
      writer.put(remaining)
    case .described(let holdings):
      writer.put(UInt8(130))
      for holding in holdings { holding.encode(to: &writer) }
    case .refused: writer.put(UInt8(131))
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
    case 131: self = .refused
    default: return nil
    }
    guard reader.isAtEnd else { return nil }
  }
}
