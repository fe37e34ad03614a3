/// What a runtime asks the plugin for, by way of its environment (section 2, Parameters).
struct CNICall: Equatable {
  enum Command: String {
    case add = "ADD"
    case del = "DEL"
    case check = "CHECK"
    case gc = "GC"
    case status = "STATUS"
    case version = "VERSION"

    /// The variables that it cannot do without.
    fileprivate var needed: [Variable] {
      switch self {
      case .add, .check: [.container, .namespace, .interface]
      case .del: [.container, .interface]
      case .gc, .status, .version: []
      }
    }
  }

  fileprivate enum Variable: String {
    case command = "CNI_COMMAND"
    case container = "CNI_CONTAINERID"
    case namespace = "CNI_NETNS"
    case interface = "CNI_IFNAME"
  }

  let command: Command
  private let container: String
  private let interface: String
  /// The path of the container's network namespace.
  let namespace: String

  /// The variable that says what is to be done.
  static let commandVariable = Variable.command.rawValue

  /// Tells whether a program that was called so, without arguments, is to be the plugin.
  ///
  /// - Parameter command: What the variable holds; an empty one counts as unset.
  static func isMeant(by name: String?, _ command: UnsafePointer<CChar>?) -> Bool {
    guard let command, command.pointee != 0 else { return false }
    return name?.split(separator: "/").last == "portmap"
  }

  init(_ environment: [String: String]) throws(CNIError) {
    func value(_ variable: Variable) -> String { environment[variable.rawValue] ?? "" }
    guard let command = Command(rawValue: value(.command)) else {
      throw CNIError(
        .invalidEnvironment,
        "unknown CNI_COMMAND",
        "CNI_COMMAND is '\(value(.command))'; known are ADD, DEL, CHECK, GC, STATUS and VERSION"
      )
    }
    self.command = command
    container = value(.container)
    interface = value(.interface)
    namespace = value(.namespace)
    let wrong = command.needed.compactMap { variable in
      Self.flaw(variable, value(variable)).map { "\(variable.rawValue) \($0)" }
    }
    guard wrong.isEmpty else {
      throw CNIError(.invalidEnvironment, "invalid environment variables", wrong.joined(separator: ", "))
    }
  }

  /// The attachment that it is about.
  func attachment(to network: String) -> Attachment {
    Attachment(network: network, container: container, interface: interface)
  }

  private static func flaw(_ variable: Variable, _ value: String) -> String? {
    if value.isEmpty { return "is missing" }
    let isValid =
      switch variable {
      case .command, .namespace: true
      case .container: isName(value)
      case .interface: isInterface(value)
      }
    return isValid ? nil : "is invalid: '\(value)'"
  }

  /// Whether a text is what container ids and the names of networks have to be: an alphanumeric character, then such
  /// characters, `_`, `.` and `-`.
  static func isName(_ text: String) -> Bool {
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "a")...UInt8(ascii: "z"):
        true
      default: false
      }
    }
    guard let first = text.utf8.first, isAlphanumeric(first) else { return false }
    return text.utf8.allSatisfy { isAlphanumeric($0) || "_.-".utf8.contains($0) }
  }

  /// Whether the kernel takes a text for the name of a link (dev_valid_name).
  private static func isInterface(_ text: String) -> Bool {
    text.utf8.count <= 15 && text != "." && text != ".."
      && text.utf8.allSatisfy {
        $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":")
      }
  }
}
