import CLinux
import Glibc

/// What the control messages of a received datagram say: the address that it was sent to, the interface that it
/// came in on, and the size of its segments where it is several datagrams.
struct PacketInfo {
  private(set) var local: IPAddress?
  private(set) var interface: UInt32 = 0
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
    case (Int32(IPPROTO_IP), SocketConstant.ipPacketInfo):
      // struct in_pktinfo: the interface, the address to answer from, the address in the header. The latter two
      // differ for a broadcast, and the former is 0 for what was there before the option was set.
      interface = data.loadUnaligned(as: UInt32.self)
      let own = data.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
      let written = data.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
      local = IPAddress(v4: UInt32(bigEndian: own == 0 ? written : own))
    case (Int32(IPPROTO_IPV6), SocketConstant.ipv6PacketInfo) where local == nil:
      local = IPAddress(v6: UInt128(bigEndian: data.loadUnaligned(as: UInt128.self)))
      interface = data.loadUnaligned(fromByteOffset: 16, as: UInt32.self)
    case (SocketConstant.solUDP, SocketConstant.udpGRO):
      segment = Int(data.loadUnaligned(as: Int32.self))
    default:
      break
    }
  }
}

/// Writes the control messages of an answer, one after the other, into space of `size` bytes.
struct ControlWriter {
  /// Enough for an address, a segment size, and what else the kernel may put there on the way in.
  static let size = 128

  private let start: UnsafeMutableRawPointer
  private(set) var length = 0

  init(_ start: UnsafeMutableRawPointer) {
    self.start = start
  }

  /// Has the answer go out from `local`, on `interface` unless that is 0.
  mutating func setSource(_ local: IPAddress, interface: UInt32) {
    if local.family == .v4 {
      append(Int32(IPPROTO_IP), SocketConstant.ipPacketInfo, 12) {
        $0.storeBytes(of: interface, as: UInt32.self)
        $0.storeBytes(of: UInt32(truncatingIfNeeded: local.value).bigEndian, toByteOffset: 4, as: UInt32.self)
        $0.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
      }
    } else {
      append(Int32(IPPROTO_IPV6), SocketConstant.ipv6PacketInfo, 20) {
        $0.storeBytes(of: local.value.bigEndian, as: UInt128.self)
        $0.storeBytes(of: interface, toByteOffset: 16, as: UInt32.self)
      }
    }
  }

  /// Has the message cut into datagrams of `size` bytes.
  mutating func setSegment(_ size: Int) {
    append(SocketConstant.solUDP, SocketConstant.udpSegment, 2) {
      $0.storeBytes(of: UInt16(truncatingIfNeeded: size), as: UInt16.self)
    }
  }

  mutating func append(
    _ level: Int32,
    _ type: Int32,
    _ size: Int,
    _ fill: (UnsafeMutableRawPointer) -> Void
  ) {
    let place = start + length
    var header = cmsghdr()
    header.cmsg_len = clinux_cmsg_length(size)
    header.cmsg_level = level
    header.cmsg_type = type
    place.storeBytes(of: header, as: cmsghdr.self)
    fill(place + clinux_cmsg_length(0))
    length += clinux_cmsg_space(size)
  }
}
