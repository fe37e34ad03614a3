// How datagrams become messages for the kernel, and messages datagrams again. With UDP_GRO one received message may
// be several datagrams of one size (the last one may be shorter); with UDP_SEGMENT one sent message is cut into such
// datagrams. Pure values: the boundaries that they keep are what the tests are about.

/// A received message: one datagram, or, where `segment` is not 0, as many as `segment` cuts it into.
struct DatagramPiece: Equatable {
  let length: Int
  let segment: Int

  /// The size of its datagrams, all but the last.
  var datagramSize: Int { segment == 0 ? length : segment }
  /// How many datagrams it is. An empty one is one, too.
  var count: Int { segment == 0 || length == 0 ? 1 : (length + segment - 1) / segment }
  /// Whether the last datagram is as long as the others, so that more may follow in the same message.
  var isFull: Bool { segment == 0 || length % segment == 0 }
}

/// Consecutive pieces that one message can carry: every datagram but the last has the size `segment`.
struct DatagramRun: Equatable {
  /// UDP_MAX_SEGMENTS of the kernels that have the smaller one.
  static let maximumCount = 64
  /// The longest payload that a datagram has in IPv4; the kernel counts the whole run as one.
  static let maximumLength = 65_507

  let segment: Int
  private(set) var pieces = 1
  private(set) var count: Int
  private(set) var length: Int
  private var isOpen: Bool

  init(_ piece: DatagramPiece) {
    segment = piece.datagramSize
    count = piece.count
    length = piece.length
    isOpen = piece.isFull && piece.length > 0
  }

  /// Takes up the next piece of the same flow, if a message can carry it too.
  mutating func append(_ piece: DatagramPiece) -> Bool {
    guard isOpen, piece.length > 0,
      piece.datagramSize == segment || (piece.count == 1 && piece.length < segment),
      count + piece.count <= Self.maximumCount, length + piece.length <= Self.maximumLength
    else { return false }
    pieces += 1
    count += piece.count
    length += piece.length
    isOpen = piece.isFull && piece.datagramSize == segment
    return true
  }
}
