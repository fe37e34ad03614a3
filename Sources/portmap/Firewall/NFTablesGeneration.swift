import CLinux

/// The number of the network namespace's current nftables ruleset.
///
/// Each commit of a change raises it by one, whoever makes it: an nft(8) call of any length is one, iptables-restore of
/// the nft kind makes one for each table that it changes. Looking raises nothing, and iptables of the legacy kind is
/// not seen at all.
enum NFTablesGeneration {
  /// Asks the kernel, in microseconds; nil where it has no nftables, or does not tell without CAP_NET_ADMIN.
  ///
  /// Only worth asking where iptables is of the nft kind: the kernel loads nf_tables to answer.
  static func current() -> UInt32? {
    let request = NetlinkRequest(
      subsystem: UInt8(NFNL_SUBSYS_NFTABLES),
      message: UInt8(NFT_MSG_GETGEN.rawValue)
    )
    var generation: UInt32?
    try? Netlink().request(request) { generation = $0.attributes.number(NFTA_GEN_ID) }
    return generation
  }
}
