/// A difference between what the state says and what exists, or a reason why a mapping may not work.
///
/// Inspection finds them; check prints them, and repair mends those that it can.
enum Difference: Equatable {
  /// A command died before it was done, and nothing has caught up on it.
  case commandDied
  /// A mapping's removal failed half-way.
  case removalUnfinished(Mapping)
  /// Something of a command that is long over could not be taken away.
  case removalWaits(Removal)

  /// A background process is dead, or does not answer, with what it held.
  case processDead(HolderRecord, [Holding])
  case processSilent(HolderRecord, [Holding])
  /// Somebody else has taken a port whose background process is dead.
  case portTaken(Holding, port: UInt16, by: String)
  case notHeld(Holding, by: HolderRecord)
  case heldInExcess([Holding], by: HolderRecord)
  /// A held socket is not as it should be.
  case socketAltered(Holding, by: HolderRecord, SocketFlaw)
  /// The name of a namespace that a background process has entered means another one now.
  case namespaceReplaced([Holding], by: HolderRecord, GuestNamespace)
  /// It means none.
  case namespaceGone([Holding], NamespaceError)
  /// A background process that the state does not know has a control socket in the folder.
  case processUnknown(id: String)

  /// A line of an applied file could not be made.
  case declarationFailed(DeclarationFailure)

  case bridgeMissing(BridgeRecord)
  case bridgeAddressMissing(BridgeRecord)
  case bridgeDown(BridgeRecord)
  case guestLinkMissing(AllocatedAddress)
  /// The name of its namespace means another one now than that into which its link leads.
  case guestReplaced(AllocatedAddress)
  case guestUnplugged(AllocatedAddress)
  case guestLinkDown(AllocatedAddress)
  case guestHairpinOff(AllocatedAddress)
  /// A link carries the folder's alias, but the state does not know it.
  case linkUnknown(String)
  case forwardingOff(IPAddress.Family)

  case firewallVariant(recorded: String, now: String)
  case rules(RuleDifference)
  /// The program on connect(2) is not attached, or only in part.
  case connectProgramLost([Mapping])
  /// Loopback connections to a mapping's ports are not led as they connect.
  case connectionsLost(Mapping)
  /// Loopback connections to ports that no mapping has are led away.
  case connectionsUnknown([ConnectPorts])
  /// A rule of somebody else's takes a mapping's packets before portmap's rules see them.
  case foreignRule(ForeignRule)
  /// A native nftables chain drops what portmap depends on.
  case nativeChain(NativeDrop)

  /// A bridge port without hairpin mode, which is somebody else's to set.
  case hairpinOff(IPAddress, port: String)

  /// A backend does not answer, or not everybody; only a probe finds it.
  case backend(BackendFault)

  /// Whether everything works nonetheless, though something could work better.
  var isNote: Bool {
    switch self {
    case .hairpinOff: true
    case .backend(let fault): fault.isNote
    default: false
    }
  }

  /// Whether it is about how loopback connections are led as they connect.
  var isOfConnections: Bool {
    switch self {
    case .connectProgramLost, .connectionsLost, .connectionsUnknown: true
    default: false
    }
  }

  /// Whether it is one of the rules of a family.
  func isOfRules(_ family: IPAddress.Family) -> Bool {
    if case .rules(let difference) = self { difference.place.family == family } else { false }
  }
}
