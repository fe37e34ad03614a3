import Glibc

/// A failure as the specification has it (section 5, Error): a code that runtimes know, and words for a person.
struct CNIError: Error, Equatable {
  enum Code: Int {
    case incompatibleVersion = 1
    case unsupportedField = 2
    case unknownContainer = 3
    case invalidEnvironment = 4
    case inputOutput = 5
    case decoding = 6
    case invalidConfiguration = 7
    case tryAgainLater = 11
    case notAvailable = 50
    /// The attachment is not as ADD has made it: codes from 100 on are the plugin's own.
    case deviation = 100
    /// Whatever has no code of its own, as in the libraries of the specification's authors.
    case `internal` = 999
  }

  let code: Code
  /// Characterizes the failure.
  let message: String
  /// Says what exactly it is about.
  let details: String

  init(_ code: Code, _ message: String, _ details: String) {
    self.code = code
    self.message = message.printable()
    self.details = details.printable()
  }
}

/// What is printed for a failure.
struct CNIErrorDocument: Encodable {
  let cniVersion: String
  let code: Int
  let msg: String
  let details: String

  init(_ error: CNIError, _ version: CNIVersion) {
    cniVersion = version.text
    code = error.code.rawValue
    msg = error.message
    details = error.details
  }
}

extension CNIError {
  /// Puts any error into the specification's form.
  init(_ error: any Error) {
    switch error {
    case let error as CNIError: self = error
    case let error as AllocationError: self.init(error)
    case OperationError.notPermitted:
      self.init(.internal, "not permitted", "rules need CAP_NET_ADMIN")
    case is StateError, is SystemError:
      self.init(.inputOutput, "I/O failure", Failure(error, doing: "map ports").message)
    default: self.init(.internal, "failed", Failure(error, doing: "map ports").message)
    }
  }

  private init(_ error: AllocationError) {
    func taken(_ port: String, _ owner: String) -> CNIError {
      CNIError(.tryAgainLater, "host port \(port) is taken", "\(owner) has it")
    }
    switch error {
    case .given(let port, .mapping(let mapping)):
      let attachment = mapping.origin.flatMap { Attachment($0) }
      let owner =
        attachment.map { "container \($0.container) (network \($0.network), \($0.interface))" }
        ?? mapping.origin.map { "\($0)" } ?? "mapping \(mapping.id)"
      self = taken(port, "\(owner), with \(mapping),")
    case .given(let port, .reservation(let reservation)):
      self = taken(port, "reservation \(reservation.id) (\(reservation))")
    case .lent(let port): self = taken(port, "a server that another portmap has lent it to")
    case .inUse(let port, let transport, let number):
      self = taken(port, PortUser.find(transport, number) ?? "another process")
    case .system(let port, let error) where error.errno == EADDRNOTAVAIL:
      self.init(.invalidConfiguration, "invalid hostIP", "\(port): this host has no such address")
    default: self.init(.internal, "failed", Failure(error, doing: "map ports").message)
    }
  }
}
