import CLinux
import Glibc

/// The contents of a received datagram's control messages: the address that it was sent to, the interface that it
/// came in on, the hops that it had left, and the size of its segments where it is several datagrams.
struct PacketInfo {
  private(set) var local: IPAddress?
  private(set) var interface: UInt32 = 0
  private(set) var hopLimit: Int32?
  private(set) var segment = 0

  init(_ message: UnsafeMutablePointer<msghdr>) {
    var next = clinux_cmsg_first(message)
    while let header = next {
      let data = UnsafeRawPointer(clinux_cmsg_data(header))
      if let data { note(header.pointee.cmsg_level, header.pointee.cmsg_type, data) }
      next = clinux_cmsg_next(message, header)
    }
  }

  private mutating func note(_ level: Int32, _ type: Int32, _ data: UnsafeRawPointer) {
    switch (level, type) {
    case (SocketLevel.ip, IP_PKTINFO):
      let information = data.loadUnaligned(as: in_pktinfo.self)
      interface = UInt32(bitPattern: information.ipi_ifindex)
      // The address to answer from, which differs from the one in the header for a broadcast, and is 0 for what was
      // there before the option was set.
      let own = information.ipi_spec_dst.s_addr
      local = IPAddress(v4: UInt32(bigEndian: own == 0 ? information.ipi_addr.s_addr : own))
    case (SocketLevel.ipv6, IPV6_PKTINFO) where local == nil:
      let information = data.loadUnaligned(as: clinux_in6_pktinfo.self)
      local = IPAddress(information.ipi6_addr)
      interface = information.ipi6_ifindex
    case (SocketLevel.ip, IP_TTL), (SocketLevel.ipv6, IPV6_HOPLIMIT):
      hopLimit = data.loadUnaligned(as: Int32.self)
    case (SocketLevel.udp, UDP_GRO):
      segment = Int(data.loadUnaligned(as: Int32.self))
    default:
      break
    }
  }
}

/// A writer of control messages, one after the other, into space of `size` bytes.
struct ControlWriter {
  /// Enough for an address, a segment size, and what else the kernel may put there on the way in: 120 bytes for an
  /// IPv4 datagram on a dual-stack socket.
  static let size = 128

  private let start: UnsafeMutableRawPointer
  private(set) var length = 0

  init(_ start: UnsafeMutableRawPointer) {
    self.start = start
  }

  /// Sends the message from the address `local`, on `interface` unless that is 0.
  mutating func setSource(_ local: IPAddress, interface: UInt32) {
    if local.family == .v4 {
      var information = in_pktinfo()
      information.ipi_ifindex = Int32(bitPattern: interface)
      information.ipi_spec_dst.s_addr = UInt32(truncatingIfNeeded: local.value).bigEndian
      append(SocketLevel.ip, IP_PKTINFO, information)
    } else {
      append(
        SocketLevel.ipv6,
        IPV6_PKTINFO,
        clinux_in6_pktinfo(ipi6_addr: local.in6Address, ipi6_ifindex: interface)
      )
    }
  }

  /// Has the message cut into datagrams of `size` bytes.
  mutating func setSegment(_ size: Int) {
    append(SocketLevel.udp, UDP_SEGMENT, UInt16(truncatingIfNeeded: size))
  }

  /// Writes one control message that is a number or one of C's structures.
  mutating func append<Value>(_ level: Int32, _ type: Int32, _ value: Value) {
    let place = start + length
    let size = MemoryLayout<Value>.size
    var header = cmsghdr()
    header.cmsg_len = clinux_cmsg_length(size)
    header.cmsg_level = level
    header.cmsg_type = type
    place.storeBytes(of: header, as: cmsghdr.self)
    (place + clinux_cmsg_length(0)).storeBytes(of: value, as: Value.self)
    length += clinux_cmsg_space(size)
  }
}
