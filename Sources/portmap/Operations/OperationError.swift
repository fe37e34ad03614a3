/// Why an operation cannot be carried out.
enum OperationError: Error {
  /// It needs CAP_NET_ADMIN.
  case notPermitted(Purpose)
  case nameTaken(String, by: IPAddress)
  case noFreeAddress(bridge: String, Subnet)
  case otherSubnet(bridge: String, has: Subnet, wanted: Subnet)
  /// A backend's name is neither an allocated address's nor a network namespace's.
  case unknownBackend(String)
  case namespaceWithoutAddress(String)
  /// The backend is an address of the host itself, where only the proxy could reach it.
  case backendIsHost(IPAddress)
  /// The backend is the first or the last address of a network.
  case backendIsNetwork(IPAddress, Subnet)
  case noHostAddress(IPAddress)
  case ownBackend(IPAddress, PortRange)
  case needsProxy(HostAddress, IPAddress)
  case noIPv6Rules(IPAddress)
  /// The rules that exist were made with the other variant of iptables.
  case variantChanged(from: String, to: String)

  /// What the capability is needed for.
  enum Purpose {
    case rules
    case addresses
  }
}
