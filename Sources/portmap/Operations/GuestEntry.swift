// How the network namespaces of `map --into` come into plans: each is opened once, before anything is made, and handed
// to the background process that enters it.

extension Workspace {
  /// Opens the namespace of a request, unless it is open already; nil where it has none.
  ///
  /// A preview needs no right to enter it.
  func openNamespace(of request: MapRequest, for sockets: inout HeldSockets) throws(NamespaceError)
    -> GuestNamespace?
  {
    guard let name = request.into else { return nil }
    if let known = sockets.namespaces.keys.first(where: { $0.name == name }) { return known }
    do {
      let namespace = try OpenedNamespace(name)
      sockets.namespaces[namespace.guest] = namespace
      return namespace.guest
    } catch  where error.problem == .notPermitted && isPreview {
      return GuestNamespace(name: name, identity: NamespaceIdentity(inode: 0))
    }
  }
}

extension Wanted {
  /// Names the background processes that are to enter namespaces, one each.
  mutating func nameGuestHolders(_ ids: inout NewIdentifiers) {
    for guest in mappings.compactMap(\.into) where guestHolders[guest] == nil {
      guestHolders[guest] = ids.next()
    }
  }
}
