import Foundation
import Testing

/// A running `apply --watch`, and the service manager that it tells how far it is.
final class Watch {
  let process: ChildProcess
  private let manager: ChildProcess

  /// Says each message that it gets as a line, its line breaks as `|`.
  private static let listener = """
    import os, socket, sys
    name = sys.argv[1]
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind("\\0" + name[1:] if name[0] == "@" else name)
    if name[0] != "@": os.chmod(name, 0o777)
    print("listening", flush=True)
    while True: print(s.recv(4096).decode().replace("\\n", "|"), flush=True)
    """

  /// Starts it and waits until it says that it is ready.
  ///
  /// - Parameter socket: Where the manager listens; a file of the topology's folder unless given.
  init(
    _ portmap: Portmap,
    _ arguments: [String] = [],
    folder: String,
    socket: String? = nil,
    isReady: Bool = true,
    at location: SourceLocation = #_sourceLocation
  ) throws {
    let socket = socket ?? "\(folder)/notify-\(UUID().uuidString.prefix(8))"
    manager = try portmap.namespace.start(["/usr/bin/python3", "-c", Self.listener, socket])
    try #require(manager.line(timeout: 20) == "listening", sourceLocation: location)
    var portmap = portmap
    portmap.environment["NOTIFY_SOCKET"] = socket
    process = try portmap.start(["apply", "--watch"] + arguments)
    if isReady { try expect("READY=1", at: location) }
  }

  /// The next thing that the manager is told begins so.
  func expect(_ text: String, at location: SourceLocation = #_sourceLocation) throws {
    let line = manager.line(timeout: 20)
    try #require(
      line?.hasPrefix(text) ?? false,
      "\(line ?? "nothing"), not \(text): \(line == nil ? "\(process.wait(timeout: 1))" : "")",
      sourceLocation: location
    )
  }

  /// Has the files read again, and waits until that is over.
  func reload(at location: SourceLocation = #_sourceLocation) throws {
    process.signal(SIGHUP)
    try expect("RELOADING=1|MONOTONIC_USEC=", at: location)
    try expect("READY=1", at: location)
  }

  /// Ends it; what it has printed.
  @discardableResult
  func end(_ signal: Int32 = SIGTERM, at location: SourceLocation = #_sourceLocation) throws -> Outcome {
    process.signal(signal)
    try expect("STOPPING=1", at: location)
    let outcome = process.wait()
    #expect(outcome.status == 0, "\(outcome)", sourceLocation: location)
    return outcome
  }

  /// How often the process has gone to sleep of its own will.
  func waits() throws -> Int {
    try Int(#require(ProcessState.status(process.pid)["voluntary_ctxt_switches"]?.first)) ?? 0
  }
}

extension Topology {
  /// Starts `apply --watch` with a file of these lines.
  func watch(_ lines: String, _ options: String..., portmap: Portmap? = nil) throws -> Watch {
    try Watch(portmap ?? self.portmap, options + [declare(lines)], folder: folder)
  }
}
