import CLinux
import Glibc

/// dockerd's userland proxy: one port of this host, served until dockerd ends it or ends itself.
///
/// Theory of operation. dockerd starts one for each port and address, and waits for a word on a pipe:
///
///     starting  --it listens-->           serving   says `0`
///     starting  --anything goes wrong-->  ends      says `1` and what, or on stderr where there is no pipe
///     serving   --INT, TERM, the end of the process that started it-->  ends, and all connections with it
///
/// What needs privileges is done before it says `0`, and then it gives up them and whatever else serving does not need
/// (Confinement). Where there are hundreds of ports there are hundreds of these processes: none touches Foundation.
enum DockerProxy {
  /// The name by which dockerd knows it.
  static let name = "docker-proxy"

  private enum Status {
    static let success: Int32 = 0
    static let failure: Int32 = 1
    static let usage: Int32 = 2
  }

  /// Tells whether a program that was called so is to be the proxy: `docker-proxy`, in whatever folder.
  static func isName(_ argument: String?) -> Bool {
    guard let argument else { return false }
    return argument == name || argument.hasSuffix("/" + name)
  }

  /// Runs to the end of the process, and returns its exit status.
  static func run(_ words: [String], version: String) -> Int32 {
    // dockerd may have given up waiting, which is found when it is told.
    signal(SIGPIPE, SIG_IGN)
    // Before anything is opened, which would get the number of a descriptor that is not there.
    var report = StartReport()
    let socket = InheritedDescriptor.socket.take()
    do {
      guard case .forward(let options) = try DockerProxyCall(words) else {
        print("\(name) (portmap) version \(version)")
        return Status.success
      }
      try forward(options, socket, &report)
      return Status.success
    } catch {
      report.failed(error)
      return error is DockerProxyUsageError ? Status.usage : Status.failure
    }
  }

  private static func forward(
    _ options: DockerProxyOptions,
    _ socket: Descriptor?,
    _ report: inout StartReport
  ) throws {
    let ending = try ProxyEnding(EventLoop(), withParent: true)
    try DescriptorLimit.makeRoom(for: 1)
    let frontend = try options.open(handed: socket)
    let server = ProxyServer(loop: ending.loop)
    let route = ProxyRoute(transport: options.transport, backend: options.backend)
    try server.serve(frontend, route: route, group: 0)
    try syscall("capset") { clinux_drop_capabilities() }
    try Confinement.enter([route.backendSocket], DebugLog(of: name))
    // What starting took is given back: most of these processes then wait for ever.
    malloc_trim(0)
    try report.listens()
    try ending.wait()
    server.closeAll()
  }
}

/// The descriptors that dockerd hands over, by their numbers.
enum InheritedDescriptor: Int32 {
  /// The pipe on which dockerd waits.
  case report = 3
  /// With -use-listen-fd, the socket to serve.
  case socket = 4

  /// Takes the descriptor over; nil where it is not open.
  func take() -> Descriptor? {
    fcntl(rawValue, F_SETFD, FD_CLOEXEC) == 0 ? Descriptor(owning: rawValue) : nil
  }
}

/// The word that dockerd waits for. Without a pipe, a person has started the proxy.
private struct StartReport {
  private var pipe = InheritedDescriptor.report.take()

  /// Says that the proxy listens, and closes the pipe.
  ///
  /// - Throws: SystemError where nobody waits for it any more: dockerd has then given the port to nobody.
  mutating func listens() throws(SystemError) {
    guard let pipe else { return }
    self.pipe = nil
    let word = "0\n"
    guard write(pipe.raw, word, word.utf8.count) >= 0 else { throw SystemError(call: "write", errno: errno) }
  }

  /// Says why the proxy does not listen.
  mutating func failed(_ error: any Error) {
    let text = pipe == nil ? "\(DockerProxy.name): \(error)\n" : "1\n\(error)"
    // There is nobody left to tell where this fails.
    _ = write(pipe?.raw ?? STDERR_FILENO, text, text.utf8.count)
    pipe = nil
  }
}
