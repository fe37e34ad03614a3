import Glibc

/// CNI's portmap plugin: what a runtime that executes it under this name asks for.
///
/// Theory of operation. The environment says what is to be done, standard input holds the configuration, and whatever
/// comes of it is one JSON document on standard output, with status 0 or 1 (CNI's specification, section 2). What is
/// made is planned, carried out and recorded as by map: each mapping carries the attachment that it belongs to.
struct CNIPlugin {
  private let environment: [String: String]
  private let setting: Setting
  /// The version in which failures are told: that of the configuration, once it is known.
  private var version = CNIVersion.latest

  init(_ environment: [String: String], _ notify: @escaping (Notice) -> Void) {
    self.environment = environment
    setting = Setting(
      statePath: StatePath(option: nil, environment),
      runner: ProgramRunner(environment: environment),
      isDryRun: false,
      notify: notify,
      connects: Setting.connects(environment)
    )
  }

  /// - Returns: The exit status.
  /// - Throws: Interruption where a signal came: then nothing is printed.
  mutating func run() throws -> Int32 {
    do {
      try carryOut(CNICall(environment))
      return 0
    } catch let interruption as Interruption {
      throw interruption
    } catch {
      // Where not even that can be printed, the status tells.
      try? Output.json(CNIErrorDocument(CNIError(error), version))
      return 1
    }
  }

  private mutating func carryOut(_ call: CNICall) throws {
    if call.command == .version { return try tellVersions() }
    let body = try JSONText.object(try StandardInput.read())
    version = try CNIConfiguration.version(of: body)
    let configuration = try CNIConfiguration(body, version, for: call.command)
    let attachment = call.attachment(to: configuration.network)
    switch call.command {
    case .add: try add(attachment, call, configuration)
    case .check: try check(attachment, call, configuration)
    case .del: try Detaching(setting).release(attachment, isLikely: configuration.asksForPorts)
    case .gc:
      let valid = try configuration.validAttachments()
      try Detaching(setting).release(network: configuration.network, but: valid)
    case .status: try CNIStatus(setting).check()
    case .version: break
    }
  }

  private func tellVersions() throws {
    let input = isatty(STDIN_FILENO) == 1 ? [] : try StandardInput.read()
    let word = input.isEmpty ? nil : try JSONText.object(input).text("cniVersion")
    try Output.json(CNIVersionDocument(cniVersion: word ?? version.text))
  }

  private func add(_ attachment: Attachment, _ call: CNICall, _ configuration: CNIConfiguration) throws {
    let (result, ports) = try request(attachment, configuration)
    guard let ports else {
      try Detaching(setting).release(recordsOf: attachment)
      return try Output.write(result.text)
    }
    let workspace = try Workspace.open(setting)
    defer { workspace.close() }
    try Attaching(attachment, in: call.namespace, ports, workspace).run { try Output.write(result.text) }
  }

  private func check(_ attachment: Attachment, _ call: CNICall, _ configuration: CNIConfiguration) throws {
    try Checking(attachment, request(attachment, configuration).ports).run(setting)
  }

  /// What is asked for, and the result to hand on; no ports where none are.
  private func request(
    _ attachment: Attachment,
    _ configuration: CNIConfiguration
  ) throws -> (result: CNIResult, ports: AttachmentPorts?) {
    let settings = try PortSettings(configuration.body)
    guard let result = try CNIResult(configuration) else {
      throw CNIError(
        .invalidConfiguration,
        "missing prevResult",
        "the plugin stands behind others in a chain"
      )
    }
    guard !settings.ports.isEmpty else { return (result, nil) }
    let ports = try AttachmentPorts(
      settings,
      to: result.addresses(of: attachment.interface),
      // podman itself binds each published port, once ADD is done.
      isReserved: settings.reserve ?? !CallingProcesses.include("podman")
    )
    return (result, ports)
  }
}

/// The configuration's way into the plugin.
private enum StandardInput {
  /// A result of a million addresses takes less than half of it.
  private static let most = 256 << 20

  /// - Throws: CNIError; Interruption where a signal came.
  static func read() throws -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Glibc.read(STDIN_FILENO, &buffer, buffer.count)
      if count == 0 { return bytes }
      if count < 0, errno == EINTR {
        try Interruption.check()
        continue
      }
      guard count > 0 else {
        let error = SystemError(call: "read", errno: errno)
        throw CNIError(.inputOutput, "cannot read the configuration", "standard input: \(error.reason)")
      }
      bytes += buffer[..<count]
      guard bytes.count <= most else {
        throw CNIError(.inputOutput, "cannot read the configuration", "it is larger than \(most >> 20) MiB")
      }
    }
  }
}

extension CNIConfiguration {
  /// Whether any port mapping stands in it, valid or not.
  fileprivate var asksForPorts: Bool {
    body["runtimeConfig"]?["portMappings"]?.elements.contains { _ in true } ?? false
  }

  /// The attachments to the network that are still there, as GC is told.
  fileprivate func validAttachments() throws(CNIError) -> [Attachment] {
    let key = "cni.dev/valid-attachments"
    guard let list = try body.list(key) else {
      throw CNIError(.invalidConfiguration, "missing \(key)", "without \(key) nothing is released")
    }
    var valid: [Attachment] = []
    for element in list {
      guard let container = try element.text("containerID"), let interface = try element.text("ifname") else {
        throw CNIError(
          .invalidConfiguration,
          "invalid \(key)",
          "\(key) has \(element.excerpt), without containerID or ifname"
        )
      }
      valid.append(Attachment(network: network, container: container, interface: interface))
    }
    return valid
  }
}

/// Whether ADD could do its work.
struct CNIStatus {
  private let setting: Setting

  init(_ setting: Setting) { self.setting = setting }

  /// - Throws: CNIError that says why not.
  func check() throws(CNIError) {
    guard Capability.mayAdministerNetwork else { throw unavailable("rules need CAP_NET_ADMIN") }
    let firewall = Firewall(runner: setting.runner, lock: nil)
    guard firewall.isInstalled else { throw unavailable("iptables-restore and iptables-save are not there") }
    do {
      _ = try firewall.saved(.v4, needing: [.nat, .filter])
      if let folder = try StateFolder.open(setting.statePath) {
        var file = StateFile(folder: folder)
        _ = try file.read()
      }
    } catch {
      throw unavailable(Failure(error, doing: "make rules").message)
    }
  }

  private func unavailable(_ reason: String) -> CNIError {
    CNIError(.notAvailable, "the plugin is not available", reason)
  }
}
