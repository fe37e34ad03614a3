import CLinux
import Glibc

/// An ear for what a part of the kernel tells everybody who wants to know: a netlink socket with multicast groups.
///
/// What is told is not looked at closely: that something has changed is a reason to look, and what there is then counts.
final class NetlinkListener {
  /// What has been told since the last time.
  struct News {
    /// The types of the messages (RTM_NEWLINK and so on).
    var types: Set<UInt16> = []
    /// Whether there was more than the socket has room for, so that some of it is lost (ENOBUFS).
    var isIncomplete = false

    var isEmpty: Bool { types.isEmpty && !isIncomplete }
  }

  let socket: Descriptor
  private var buffer = [UInt8](repeating: 0, count: 16384)

  /// - Parameter groups: The numbers of groups, 32 at most.
  /// - Throws: SystemError: EPERM where the subsystem tells privileged processes only.
  private init(_ subsystem: Int32, groups: [UInt32]) throws(SystemError) {
    let type = Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    socket = try Descriptor("socket") { Glibc.socket(AF_NETLINK, type, subsystem) }
    var own = sockaddr_nl()
    own.nl_family = sa_family_t(AF_NETLINK)
    own.nl_groups = groups.reduce(0) { $0 | 1 << ($1 - 1) }
    try syscall("bind") {
      withUnsafePointer(to: own) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(socket.raw, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
        }
      }
    }
  }

  /// Hears of commits to the nftables rule set, those of iptables' nft variant included.
  static func rules() throws(SystemError) -> NetlinkListener {
    try NetlinkListener(NETLINK_NETFILTER, groups: [NFNLGRP_NFTABLES.rawValue])
  }

  /// Hears of links, addresses, routes and forwarding; not of neighbours, who come and go all the time.
  static func network() throws(SystemError) -> NetlinkListener {
    let groups = [
      RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
      RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF,
    ]
    return try NetlinkListener(NETLINK_ROUTE, groups: groups.map(\.rawValue))
  }

  /// Takes in everything that has been told.
  func news() -> News {
    var news = News()
    while true {
      do {
        let count = try nonblocking("recv") { recv(socket.raw, &buffer, buffer.count, Int32(MSG_DONTWAIT)) }
        guard let count else { return news }
        for message in NetlinkMessages(buffer[..<count]) { news.types.insert(message.type) }
      } catch {
        // ENOBUFS is said once, and what is left in the queue comes behind it.
        let wasIncomplete = news.isIncomplete
        news.isIncomplete = true
        if error.errno != ENOBUFS || wasIncomplete { return news }
      }
    }
  }
}

extension NetlinkListener.News {
  /// Whether it is about routes alone.
  var isOfRoutes: Bool {
    !isIncomplete && types.isSubset(of: [UInt16(RTM_NEWROUTE), UInt16(RTM_DELROUTE)])
  }
}
