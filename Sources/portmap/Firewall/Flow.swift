import CLinux
import Glibc

/// A connection, or an exchange of datagrams, that the kernel tracks (conntrack), as its first packet came.
struct Flow: Equatable {
  let transport: Transport
  let destination: IPAddress
  let destinationPort: UInt16
}

extension Flow {
  /// Reads a message of a ctnetlink dump; nil for flows without ports.
  init?(_ message: NetlinkMessage) {
    let tuple = message.attributes.nested(CTA_TUPLE_ORIG)
    let (addresses, ports) = (tuple.nested(CTA_TUPLE_IP), tuple.nested(CTA_TUPLE_PROTO))
    guard let transport = ports.number(CTA_PROTO_NUM, UInt8.self).flatMap({ Transport(number: Int32($0)) }),
      let port: UInt16 = ports.number(CTA_PROTO_DST_PORT)
    else { return nil }
    if let v4: UInt32 = addresses.number(CTA_IP_V4_DST) {
      destination = IPAddress(v4: v4)
    } else if let v6: UInt128 = addresses.number(CTA_IP_V6_DST) {
      destination = IPAddress(v6: v6)
    } else {
      return nil
    }
    self.transport = transport
    destinationPort = port
  }

  /// Asks the kernel for a dump of all flows of the namespace.
  static let dump = NetlinkRequest(
    subsystem: UInt8(NFNL_SUBSYS_CTNETLINK),
    message: UInt8(IPCTNL_MSG_CT_GET.rawValue),
    flags: UInt16(NLM_F_DUMP)
  )

  /// Asks the kernel to delete the very flow that a message of a dump shows.
  ///
  /// Its tuple, which says in which zone it is where that is one of its own, its zone and its id stand there as they
  /// came: a flow that has the same tuple by now has another id, and stays.
  static func deletion(_ message: NetlinkMessage) -> NetlinkRequest {
    let attributes = message.attributes
    return NetlinkRequest(
      subsystem: UInt8(NFNL_SUBSYS_CTNETLINK),
      message: UInt8(IPCTNL_MSG_CT_DELETE.rawValue),
      family: message.family ?? 0,
      attributes: [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID].compactMap { attributes[$0] }
    )
  }
}
