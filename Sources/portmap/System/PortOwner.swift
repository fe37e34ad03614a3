import Foundation

/// What stands behind a program that has a port, where that is another thing to people: the container that docker's
/// proxy serves, the unit that systemd listens or has started a program for.
enum PortOwner {
  /// `for container web at 172.17.0.2:80`, `for web.socket`, `nginx.service`; nil where there is nothing to say.
  static func find(behind pid: Int32, _ program: String, _ transport: Transport, _ port: UInt16) -> String? {
    if let words = ProcessIdentity.words(of: pid), let backend = dockerBackend(words) {
      let name = DockerSocket.container(at: backend.ip)
      return "for \(name.map { "container \($0)" } ?? "a container") at \(backend)"
    }
    if pid == 1, program == "systemd" { return "for \(socketUnit(transport, port) ?? "a socket unit")" }
    return unit(ofControlGroup: Files.contents(of: "/proc/\(pid)/cgroup") ?? [])
  }

  /// Where the process leads that docker's daemon starts for a published port.
  static func dockerBackend(_ words: [String]) -> SocketAddress? {
    func value(_ name: String) -> String? {
      for (index, word) in words.enumerated() {
        let option = word.drop { $0 == "-" }
        if option.hasPrefix(name + "=") { return String(option.dropFirst(name.count + 1)) }
        if option == name, word.hasPrefix("-"), index + 1 < words.count { return words[index + 1] }
      }
      return nil
    }
    guard let ip = value("container-ip").flatMap({ IPAddress($0) }),
      let port = value("container-port").flatMap({ PortRange.port($0[...]) })
    else { return nil }
    return SocketAddress(ip, port: port)
  }

  /// The service or the container that a process belongs to, by its control group (cgroups(7)): `0::/system.slice/a.service`.
  /// A person's session is no such thing.
  static func unit(ofControlGroup text: [UInt8]) -> String? {
    let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
    guard let path = lines.first(where: { $0.hasPrefix("0::") || $0.contains(":name=systemd:") }) else {
      return nil
    }
    let names = path.split(separator: "/").dropFirst().reversed()
    for name in names {
      if let end = name.range(of: ".scope")?.lowerBound, let dash = name[..<end].lastIndex(of: "-"),
        name[dash..<end].count > containerIDLength
      {
        return "container \(name[dash...].dropFirst().prefix(12))"
      }
      if name.hasSuffix(".service"), !name.hasPrefix("user@") { return String(name) }
    }
    return nil
  }

  private static let containerIDLength = 64

  /// The unit for which systemd itself listens, as far as it can be asked.
  private static func socketUnit(_ transport: Transport, _ port: UInt16) -> String? {
    guard Files.exists("/run/systemd/system") else { return nil }
    let runner = ProgramRunner(environment: ProcessInfo.processInfo.environment)
    let list = try? runner.run(
      "systemctl",
      ["list-sockets", "--all", "--no-legend", "--no-pager", "--plain"]
    )
    return list.flatMap { socketUnit(of: port, in: $0.text) }
  }

  /// Reads the table of `systemctl list-sockets`: what is listened on, and the unit.
  static func socketUnit(of port: UInt16, in list: String) -> String? {
    for line in list.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count > 1, words[0].hasSuffix(":\(port)") || words[0] == "\(port)" else { continue }
      return String(words[1])
    }
    return nil
  }
}
