import Glibc

extension Command {
  /// Tries to take a port, as a server that knows nothing of anyone else would.
  static func tryBinding(_ options: Options) throws(Ending) {
    let transport = try Transport(named: options.operand(1))
    let endpoint = try Endpoint(options.operand(2), try options.ports(3).lowerBound)
    _ = try Socket.listener(transport, endpoint, reuse: options.has("reuse"), v6only: options.has("v6only"))
  }

  /// Opens sockets and becomes a program that is handed them as systemd would.
  static func activate(_ options: Options) throws(Ending) {
    let operands = options.operands(from: 1)
    for (index, operand) in operands.enumerated() {
      let parts = operand.split(separator: "/").map { String($0) }
      guard parts.count == 3, let port = UInt16(parts[2]) else { throw Ending(.usage, usage) }
      let endpoint = try Endpoint(parts[1], port)
      let socket = try Socket.listener(try Transport(named: parts[0]), endpoint, reuse: false)
      let wanted = Int32(3 + index)
      if socket.descriptor != wanted { try check(dup2(socket.descriptor, wanted), "dup2") }
    }
    setenv("LISTEN_FDS", "\(operands.count)", 1)
    setenv("LISTEN_PID", "\(getpid())", 1)
    var arguments: [UnsafeMutablePointer<CChar>?] = options.command.map { strdup($0) } + [nil]
    guard let program = arguments[0] else { throw Ending(.usage, usage) }
    try check(execvp(program, &arguments), "exec")
  }
}
