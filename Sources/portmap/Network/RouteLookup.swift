import CLinux
import Glibc

/// The way that the kernel takes for a packet of this host's own.
struct Route: Equatable {
  /// The interface that the packet leaves by.
  let link: String
  /// The router that it goes to first; nil where the address is next door.
  var gateway: IPAddress?
  /// The address that it is sent from.
  var source: IPAddress?
  /// Whether it stays on this host.
  var isLocal = false
}

/// Asks the kernel about routes, neighbours and links of this network namespace (rtnetlink(7)).
struct RouteLookup {
  private let client: Netlink

  init() throws(SystemError) { client = try Netlink(NETLINK_ROUTE) }

  /// Looks up the way to an address.
  ///
  /// - Throws: SystemError with ENETUNREACH where there is none, or with what the administrator has put in its place:
  ///   EHOSTUNREACH, EACCES, EINVAL.
  func route(to address: IPAddress) throws -> Route {
    let request = NetlinkRequest(
      type: UInt16(RTM_GETROUTE),
      header: rtmsg(
        rtm_family: address.kernelFamily,
        rtm_dst_len: UInt8(address.family.bits),
        rtm_src_len: 0,
        rtm_tos: 0,
        rtm_table: 0,
        rtm_protocol: 0,
        rtm_scope: 0,
        rtm_type: 0,
        rtm_flags: 0
      ),
      attributes: [NetlinkAttribute(type: UInt16(RTA_DST.rawValue), address.bytes)]
    )
    var route: Route?
    try client.request(request) { message in route = Route(message) ?? route }
    guard let route else { throw SystemError(call: "netlink", errno: ENETUNREACH) }
    return route
  }

  /// The neighbours that the kernel knows of, or is looking for.
  func neighbours() throws -> [Neighbour] {
    let request = NetlinkRequest(
      type: UInt16(RTM_GETNEIGH),
      flags: UInt16(NLM_F_DUMP),
      header: ndmsg(
        ndm_family: UInt8(AF_UNSPEC),
        ndm_pad1: 0,
        ndm_pad2: 0,
        ndm_ifindex: 0,
        ndm_state: 0,
        ndm_flags: 0,
        ndm_type: 0
      )
    )
    var neighbours: [Neighbour] = []
    try client.request(request) { message in
      if let neighbour = Neighbour(message) { neighbours.append(neighbour) }
    }
    return neighbours
  }

  /// The hardware address of an interface; nil where it has none.
  func hardwareAddress(of link: String) throws -> [UInt8]? {
    let request = NetlinkRequest(
      type: UInt16(RTM_GETLINK),
      header: ifinfomsg(
        ifi_family: UInt8(AF_UNSPEC),
        __ifi_pad: 0,
        ifi_type: 0,
        ifi_index: Int32(if_nametoindex(link)),
        ifi_flags: 0,
        ifi_change: 0
      )
    )
    var address: [UInt8]?
    try client.request(request) { message in
      let attributes = message.attributes(behind: ifinfomsg.self)
      address = attributes[number: IFLA_ADDRESS].map { Array($0.value) } ?? address
    }
    return address
  }
}

/// An address next door, as far as the kernel has found out.
struct Neighbour: Equatable {
  let link: String
  let address: IPAddress
  /// Nil where nobody has answered so far, or at all.
  var hardwareAddress: [UInt8]?
}

extension Route {
  /// Reads an RTM_NEWROUTE; nil where it has no interface.
  init?(_ message: NetlinkMessage) {
    guard message.type == UInt16(RTM_NEWROUTE), let header = message.payload.load(rtmsg.self) else {
      return nil
    }
    let attributes = message.attributes(behind: rtmsg.self)
    func address(_ type: rtattr_type_t) -> IPAddress? {
      attributes[type].flatMap { IPAddress(bytes: $0.value) }
    }
    guard let index = attributes[RTA_OIF]?.value.load(UInt32.self), let name = Interfaces.name(of: index)
    else {
      return nil
    }
    self.init(
      link: name,
      gateway: address(RTA_GATEWAY)
        ?? attributes[RTA_VIA].flatMap { IPAddress(bytes: $0.value.dropFirst(2)) },
      source: address(RTA_PREFSRC),
      isLocal: Int(header.rtm_type) == Int(RTN_LOCAL)
    )
  }
}

extension Neighbour {
  /// Reads an RTM_NEWNEIGH of an IP address.
  init?(_ message: NetlinkMessage) {
    guard message.type == UInt16(RTM_NEWNEIGH), let header = message.payload.load(ndmsg.self),
      [AF_INET, AF_INET6].contains(Int32(header.ndm_family)),
      let name = Interfaces.name(of: UInt32(bitPattern: header.ndm_ifindex))
    else { return nil }
    let attributes = message.attributes(behind: ndmsg.self)
    guard let address = attributes[number: NDA_DST].flatMap({ IPAddress(bytes: $0.value) }) else {
      return nil
    }
    let isUnknown = Int32(header.ndm_state) & (NUD_INCOMPLETE | NUD_FAILED) != 0
    self.init(
      link: name,
      address: address,
      hardwareAddress: isUnknown ? nil : attributes[number: NDA_LLADDR].map { Array($0.value) }
    )
  }
}

extension Interfaces {
  fileprivate static func name(of index: UInt32) -> String? {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(IF_NAMESIZE)) { buffer in
      if_indextoname(index, buffer.baseAddress).map { String(cString: $0) }
    }
  }
}

extension NetlinkAttributes {
  /// The first attribute of a type that the headers name without an enumeration of its own.
  fileprivate subscript(number type: some BinaryInteger) -> NetlinkAttribute? { first { $0.type == type } }
}

extension IPAddress {
  fileprivate var kernelFamily: UInt8 { UInt8(family == .v4 ? AF_INET : AF_INET6) }

  /// Reads 4 or 16 bytes in network order; nil for any other number.
  fileprivate init?(bytes: some Collection<UInt8>) {
    guard bytes.count == 4 || bytes.count == 16 else { return nil }
    let value = bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
    self.init(family: bytes.count == 4 ? .v4 : .v6, value: value)
  }
}
