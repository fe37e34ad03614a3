import Glibc

extension DockerProxyOptions {
  /// Opens the socket to serve, or takes the one that was handed over.
  func open(handed socket: Descriptor?) throws -> Descriptor {
    switch frontend {
    case .address(let address): return try listen(on: address)
    case .inherited:
      guard let socket else { throw DockerProxyError.noSocket }
      guard try socket.option(SocketLevel.socket, SO_PROTOCOL, into: Int32(0)) == transport.number,
        try !transport.isConnectionOriented
          || socket.option(SocketLevel.socket, SO_ACCEPTCONN, into: Int32(0)) != 0
      else { throw DockerProxyError.otherSocket(transport) }
      return socket
    }
  }

  private func listen(on address: SocketAddress) throws -> Descriptor {
    do throws(SystemError) {
      let socket = try PortSocket.reserve(transport, .one(address.ip), address.port)
      try DropFilter.detach(from: socket)
      return socket
    } catch {
      let owner = error.errno == EADDRINUSE ? PortUser.find(transport, address.port) : nil
      throw DockerProxyError.listening(transport, address, error, owner: owner)
    }
  }
}

/// A reason why the proxy does not serve.
enum DockerProxyError: Error, Equatable {
  case listening(Transport, SocketAddress, SystemError, owner: String?)
  /// There is no descriptor of the number of the socket to serve.
  case noSocket
  /// It is no socket of the transport, or does not listen.
  case otherSocket(Transport)
}

extension DockerProxyError: CustomStringConvertible {
  /// The reason in words for dockerd, which puts them behind its own. Scripts look for docker's own words, so those of a
  /// failed bind are as there: `listen tcp4 0.0.0.0:8080: bind: address already in use`.
  var description: String {
    switch self {
    case .listening(let transport, let address, let error, let owner):
      "listen \(transport)\(address.ip.family.rawValue) \(address): \(error.call): \(error.reason)"
        + (owner.map { ", by \($0)" } ?? "")
    case .noSocket: "-use-listen-fd: descriptor \(InheritedDescriptor.socket.rawValue) is not open"
    case .otherSocket(let transport):
      "-use-listen-fd: descriptor \(InheritedDescriptor.socket.rawValue) is no \(transport) socket that listens"
    }
  }
}
