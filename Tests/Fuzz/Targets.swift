import Foundation

/// The readers under test, each by the name that FUZZ_TARGET has for it.
///
/// A reader may refuse what it gets. It must not trap, hang, or take what it does not print as it was: what a reader
/// accepts is written out and read once more wherever there are words for it.
enum FuzzTarget: String, CaseIterable {
  case grammar, state, holder, route, rules, netlink, nft, conf
  case cni

  func read(_ bytes: [UInt8]) {
    switch self {
    case .grammar: Readers.grammar(String(decoding: bytes, as: UTF8.self))
    case .state: Readers.state(bytes)
    case .holder: Readers.holder(bytes)
    case .route: Readers.route(bytes)
    case .rules: Readers.rules(String(decoding: bytes, as: UTF8.self))
    case .netlink: Readers.netlink(bytes)
    case .nft: Readers.nft(bytes)
    case .conf: Readers.conf(bytes)
    case .cni: Readers.cni(bytes)
    }
  }
}
