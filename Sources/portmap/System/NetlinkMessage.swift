import CLinux
import Glibc

/// A message as it came from the kernel: a header, and a payload whose meaning its type tells.
struct NetlinkMessage {
  let type: UInt16
  let flags: UInt16
  let sequence: UInt32
  let payload: ArraySlice<UInt8>

  /// The attributes of a netfilter message, behind its own small header.
  var attributes: NetlinkAttributes { NetlinkAttributes(payload.dropFirst(MemoryLayout<nfgenmsg>.size)) }

  /// The attributes behind a header of another family of messages.
  func attributes<Header: BitwiseCopyable>(behind _: Header.Type) -> NetlinkAttributes {
    NetlinkAttributes(payload.dropFirst(MemoryLayout<Header>.size))
  }

  /// The address family of a netfilter message.
  var family: UInt8? { payload.load(nfgenmsg.self)?.nfgen_family }

  /// The errno that an NLMSG_ERROR or NLMSG_DONE carries, 0 for success: an acknowledgement, or the end of a dump.
  var errno: Int32? { payload.load(Int32.self).map { $0 == .min ? EPROTO : abs($0) } }
}

/// The messages that one receive has brought. They end before the first one that is not there in full.
struct NetlinkMessages: Sequence, IteratorProtocol {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  mutating func next() -> NetlinkMessage? {
    let headerLength = MemoryLayout<nlmsghdr>.size
    guard let header = rest.load(nlmsghdr.self),
      let bytes = rest.takeAligned(Int(header.nlmsg_len), atLeast: headerLength)
    else { return nil }
    return NetlinkMessage(
      type: header.nlmsg_type,
      flags: header.nlmsg_flags,
      sequence: header.nlmsg_seq,
      payload: bytes.dropFirst(headerLength)
    )
  }
}

/// One attribute of a message: its type and its value, which may be attributes again.
struct NetlinkAttribute {
  let type: UInt16
  /// The attribute as it stands in the message, with its header.
  let bytes: ArraySlice<UInt8>

  var value: ArraySlice<UInt8> { bytes.dropFirst(MemoryLayout<nlattr>.size) }
}

extension NetlinkAttribute {
  /// Makes an attribute of a value.
  init(type: UInt16, _ value: [UInt8]) {
    let header = nlattr(nla_len: UInt16(MemoryLayout<nlattr>.size + value.count), nla_type: type)
    self.init(type: type, bytes: (withUnsafeBytes(of: header) { Array($0) } + value)[...])
  }
}

/// The attributes of a message or of another attribute. They end before the first one that is not there in full.
struct NetlinkAttributes: Sequence, IteratorProtocol {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) {
    rest = bytes
  }

  mutating func next() -> NetlinkAttribute? {
    guard let header = rest.load(nlattr.self),
      let bytes = rest.takeAligned(Int(header.nla_len), atLeast: MemoryLayout<nlattr>.size)
    else { return nil }
    return NetlinkAttribute(type: header.nla_type & Self.typeMask, bytes: bytes)
  }

  /// Leaves out the two flags of a type (NLA_TYPE_MASK, which Swift does not see).
  private static let typeMask = ~UInt16(NLA_F_NESTED | NLA_F_NET_BYTEORDER)

  /// The first attribute of a type, which the headers name by an enumeration for each kind of message.
  subscript(type: some RawRepresentable<UInt32>) -> NetlinkAttribute? {
    first { $0.type == type.rawValue }
  }

  /// The value of a number's attribute, in the kernel's order of bytes; nil where it is missing or of another size.
  func number<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: some RawRepresentable<UInt32>,
    _: Number.Type = Number.self
  ) -> Number? {
    guard let value = self[type]?.value, value.count == MemoryLayout<Number>.size else { return nil }
    return value.load(Number.self).map { Number(bigEndian: $0) }
  }

  /// The attributes within an attribute; none where it is missing.
  func nested(_ type: some RawRepresentable<UInt32>) -> NetlinkAttributes {
    NetlinkAttributes(self[type]?.value ?? [])
  }
}

/// A message to a part of the kernel.
struct NetlinkRequest {
  let type: UInt16
  let flags: UInt16
  /// The structure in front of the attributes, of which each family of messages has its own.
  private let header: [UInt8]
  /// Attributes, each as it stands in a message.
  private let attributes: [NetlinkAttribute]

  init<Header: BitwiseCopyable>(
    type: UInt16,
    flags: UInt16 = 0,
    header: Header,
    attributes: [NetlinkAttribute] = []
  ) {
    self.type = type
    self.flags = flags
    self.header = withUnsafeBytes(of: header) { Array($0) }
    self.attributes = attributes
  }

  /// A message to one of the netfilter subsystems.
  ///
  /// - Parameters:
  ///   - subsystem: The number of a subsystem (NFNL_SUBSYS_…).
  ///   - message: The number of a message of it.
  ///   - family: AF_INET, AF_INET6, or AF_UNSPEC for both.
  init(
    subsystem: UInt8,
    message: UInt8,
    flags: UInt16 = 0,
    family: UInt8 = UInt8(AF_UNSPEC),
    attributes: [NetlinkAttribute] = []
  ) {
    self.init(
      type: UInt16(subsystem) << 8 | UInt16(message),
      flags: flags,
      header: nfgenmsg(nfgen_family: family, version: UInt8(NFNETLINK_V0), res_id: 0),
      attributes: attributes
    )
  }

  /// The answers of a dump end with a message of their own; those of other requests have to be acknowledged.
  var isDump: Bool { flags & UInt16(NLM_F_DUMP) == UInt16(NLM_F_DUMP) }

  /// Appends the message as it is sent, padded to where the next one may begin.
  func append(to bytes: inout [UInt8], sequence: UInt32, flags added: UInt16) {
    let length =
      MemoryLayout<nlmsghdr>.size + self.header.count
      + attributes.reduce(0) { $0 + $1.bytes.count.alignedForNetlink }
    let header = nlmsghdr(
      nlmsg_len: UInt32(length),
      nlmsg_type: type,
      nlmsg_flags: UInt16(NLM_F_REQUEST) | flags | added,
      nlmsg_seq: sequence,
      nlmsg_pid: 0
    )
    withUnsafeBytes(of: header) { bytes += $0 }
    bytes += self.header
    for attribute in attributes {
      bytes += attribute.bytes
      bytes += repeatElement(0, count: attribute.bytes.count.alignedForNetlink - attribute.bytes.count)
    }
  }
}

extension Int {
  /// The length with the padding behind it. Messages and attributes begin at multiples of four (NLMSG_ALIGN,
  /// NLA_ALIGN).
  fileprivate var alignedForNetlink: Int { (self + 3) & ~3 }
}

extension ArraySlice<UInt8> {
  /// The structure or number at the start; nil where there are not enough bytes.
  func load<Value: BitwiseCopyable>(_: Value.Type) -> Value? {
    withUnsafeBytes { $0.count < MemoryLayout<Value>.size ? nil : $0.loadUnaligned(as: Value.self) }
  }

  /// Removes so many bytes from the start, and the padding behind them; nil where they are not all there, or fewer
  /// than must be.
  fileprivate mutating func takeAligned(_ length: Int, atLeast least: Int) -> ArraySlice<UInt8>? {
    guard length >= least, length <= count else { return nil }
    let taken = prefix(length)
    self = dropFirst(length.alignedForNetlink)
    return taken
  }
}
